//! Mail requests: making one, trying its code, using it.

use std::time::Duration;

use diesel::QueryResult;

use super::decide::{MailDecision, MailProof, WRONG_CODES, decide};
use super::messages::MessageKind;
use super::queries::{self, MailRequest, NewRow, erasure};
use super::triage::LIMIT_PERIOD;
use super::{AccountState, MIN_RETENTION, Mail, MailPurpose, RETRY_FOR};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError, Tx};
use crate::secret::Secret;

/// Requests with one purpose that a client network may make for an address within their lifetime,
/// at most an hour.
const MAX_RECENT: i64 = 3;

/// Requests that an account may make within an hour, whatever the address and the client network.
const MAX_OF_ACCOUNT: i64 = 5;

/// Requests that a purge deletes in one unit of work.
const PURGE_BATCH: i64 = 500;

/// Retry-After of a request that the full table rejects: about as long as a message takes to
/// arrive.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(60);

/// A request that a client makes.
#[derive(Clone, Debug)]
pub struct NewMailRequest {
    /// The purpose.
    pub purpose: MailPurpose,
    /// The address as entered.
    pub address: String,
    /// The address's key.
    pub address_key: String,
    /// The client's network.
    pub network: String,
    /// The session of the refresh token that the client shows.
    pub device: Option<Id>,
    /// The account and version of a logged-in user.
    pub account: Option<(Id, i64)>,
    /// The password hash of a registration.
    pub password_hash: Option<Secret<String>>,
    /// The client's language.
    pub locale: Option<String>,
}

/// Why a request was rejected. No reason depends on whether an account exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailRequestError {
    /// Mail is off.
    #[error("mail is off")]
    Off,
    /// The network has made too many requests for the address, or the account too many in all.
    #[error("too many requests for this address")]
    TooMany {
        /// How long until another request is allowed.
        retry_after: Duration,
    },
    /// The table is full.
    #[error("too many messages wait to be sent")]
    Full {
        /// How long until another request is allowed.
        retry_after: Duration,
    },
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Mail {
    /// Makes a request without looking at any account, and returns its token.
    ///
    /// # Errors
    /// [`MailRequestError`]: no request was made.
    pub async fn request(&self, new: NewMailRequest) -> Result<String, MailRequestError> {
        if !self.is_on() {
            return Err(MailRequestError::Off);
        }
        let this = self.clone();
        self.db.write(move |tx| this.insert(tx, &new, this.clock.now())).await?
    }

    /// Makes a request in the caller's unit of work.
    ///
    /// # Errors
    /// The database error.
    pub fn insert(
        &self,
        tx: &mut Tx<'_>,
        new: &NewMailRequest,
        now: Timestamp,
    ) -> QueryResult<Result<String, MailRequestError>> {
        let id = Id::new(now);
        let row = NewRow {
            id,
            purpose: new.purpose,
            message: None,
            outcome: None,
            quota: None,
            user_id: new.account.map(|(user, _)| user),
            address: new.address.clone(),
            address_key: new.address_key.clone(),
            network: Some(new.network.clone()),
            device: new.device,
            password_hash: new.password_hash.clone(),
            credentials_version: new.account.map(|(_, version)| version),
            detail: None,
            locale: new.locale.clone(),
            created_at: now,
            expires_at: self.expiry(now.plus(RETRY_FOR)),
        };
        let window = self.window(new.purpose);
        let since = now.minus(window);
        // Another one is allowed when the oldest of the last three no longer counts.
        if let Some(oldest) = queries::recent(tx.connection(), &row, since, MAX_RECENT)? {
            let retry_after = oldest.plus(window).since(now);
            return Ok(Err(MailRequestError::TooMany { retry_after }));
        }
        if let Some((user, _)) = new.account {
            let since = now.minus(LIMIT_PERIOD);
            let oldest =
                queries::recent_of(tx.connection(), user, new.purpose, since, MAX_OF_ACCOUNT)?;
            if let Some(oldest) = oldest {
                let retry_after = oldest.plus(LIMIT_PERIOD).since(now);
                return Ok(Err(MailRequestError::TooMany { retry_after }));
            }
        }
        if !self.enqueue(tx, &row)? {
            return Ok(Err(MailRequestError::Full { retry_after: RETRY_AFTER }));
        }
        Ok(Ok(self.keys.request_token(new.purpose, id)))
    }

    /// The request with this id, if the code is right. A wrong one is counted in the same unit of
    /// work; the row is locked before the codes are compared, so a burst of guesses counts as that
    /// many. It does the same for requests of unknown addresses.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn try_code(
        &self,
        purpose: MailPurpose,
        id: Id,
        code: String,
    ) -> Result<Option<MailRequest>, StoreError> {
        let this = self.clone();
        self.db
            .write(move |tx| {
                let is_open = queries::take_attempt(tx.connection(), id, this.clock.now())?;
                let row = queries::find(tx.connection(), id)?;
                let is_right = this.keys.is_code(purpose, id, &code);
                let right = row.filter(|row| {
                    is_open && is_right && row.message().is_some_and(MessageKind::has_code)
                });
                if right.is_some() {
                    queries::return_attempt(tx.connection(), id)?;
                }
                Ok(right)
            })
            .await
    }

    /// The request with this id.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find(&self, id: Id) -> Result<Option<MailRequest>, StoreError> {
        self.db.read(move |c| queries::find(c, id)).await
    }

    /// A request as it is now, in the caller's unit of work.
    ///
    /// # Errors
    /// The database error.
    pub fn find_in(&self, tx: &mut Tx<'_>, id: Id) -> QueryResult<Option<MailRequest>> {
        queries::find(tx.connection(), id)
    }

    /// Whether a request may be consumed, by [`decide`].
    #[must_use]
    pub fn may_consume(
        &self,
        row: &MailRequest,
        wanted: MailPurpose,
        proof: MailProof,
        account: AccountState,
        now: Timestamp,
    ) -> bool {
        let decision = decide(&row.state(), wanted, proof, account, now, self.policy.lifetimes);
        decision == MailDecision::Consume
    }

    /// Marks a request as used, and every other one for its address with its purpose, as the last
    /// statements of the unit of work that carries it out; false when it was used meanwhile.
    ///
    /// # Errors
    /// The database error.
    pub fn use_up(
        &self,
        tx: &mut Tx<'_>,
        row: &MailRequest,
        proof: MailProof,
        now: Timestamp,
    ) -> QueryResult<bool> {
        let attempts_below = if proof == MailProof::Link { u32::MAX } else { WRONG_CODES };
        let purpose = row.purpose();
        if !queries::use_up(tx.connection(), row.id, purpose, attempts_below, now)? {
            return Ok(false);
        }
        queries::use_up_all(tx.connection(), purpose, &row.address_key, now)?;
        Ok(true)
    }

    /// Deletes a batch of requests that have expired at `now`. Returns whether there may be more.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be deleted.
    pub async fn purge(&self, now: Timestamp) -> Result<bool, StoreError> {
        let delete =
            move |tx: &mut Tx<'_>| queries::delete_expired(tx.connection(), now, PURGE_BATCH);
        let deleted = self.db.write(delete).await?;
        self.subtract_rows(deleted);
        Ok(i64::try_from(deleted) == Ok(PURGE_BATCH))
    }

    /// When the row of a request expires whose message was handed over or abandoned at `now`.
    pub(super) fn expiry(&self, now: Timestamp) -> Timestamp {
        now.plus(self.longest_lifetime().max(MIN_RETENTION))
    }

    /// The same for a given row: an invitation is valid until a fixed time.
    pub(super) fn expiry_of(&self, row: &MailRequest, now: Timestamp) -> Timestamp {
        row.invited_until().unwrap_or_else(|| self.expiry(now))
    }

    /// How long a request counts for the limit on requests.
    pub(super) fn window(&self, purpose: MailPurpose) -> Duration {
        self.lifetime(purpose).min(MIN_RETENTION)
    }

    /// The lifetime of a request whose message is handed over at once.
    fn lifetime(&self, purpose: MailPurpose) -> Duration {
        match purpose {
            MailPurpose::Reset => self.longest_lifetime(),
            MailPurpose::Registration
            | MailPurpose::Invitation
            | MailPurpose::EmailChange
            | MailPurpose::Notice => self.policy.lifetimes.code,
        }
    }

    fn longest_lifetime(&self) -> Duration {
        let lifetimes = self.policy.lifetimes;
        lifetimes.code.max(lifetimes.link)
    }
}

/// Ends the requests of an account, and those for its address if one is given, in the unit of work
/// that closes it. The limits still count them.
///
/// # Errors
/// The database error.
pub fn end_of_account(
    tx: &mut Tx<'_>,
    user: Id,
    address_key: Option<&str>,
    now: Timestamp,
) -> QueryResult<()> {
    erasure::end_of(tx.connection(), user, address_key, now)
}

/// Deletes every request, after a backup was restored: those used since the backup would be valid
/// again. Returns their number.
///
/// # Errors
/// The database error.
pub fn delete_all(tx: &mut Tx<'_>) -> QueryResult<usize> {
    queries::delete_all(tx.connection())
}
