//! Accounts: sign up, log in, change the password, close.
//!
//! Every operation that checks a password takes the same path: an attempt is reserved with login
//! throttling, one hash is computed, and only then is the database changed, on condition that the
//! account's credentials and state are unchanged since they were read
//! (`users.credentials_version`). So a burst of guesses counts as that many guesses, an unknown
//! e-mail costs as much as a wrong password, and a login that checked a password while it was being
//! changed leaves no session behind.

pub mod admin;
mod email;
pub mod metrics;
mod password_check;
mod queries;
mod stored_costs;
pub mod throttle;

use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;

use crate::audit::{self, Audit, Event, EventKind};
use crate::clients::{self, ClientSettings, UnknownClient};
use crate::clock::{Clock, Timestamp};
use crate::database::{Database, Id, StoreError, Tx};
use crate::passwords::{
    Hasher, Overloaded, Password, PasswordHash, PasswordPolicy, UnacceptablePassword,
};
use crate::refresh_token::RefreshToken;
use crate::secret::Secret;
use crate::sessions::authenticate::AuthenticatedSession;
use crate::sessions::rotation::EndReason;
use crate::sessions::{
    Device, EndCause, Grant, IssueError, KnownSource, ReplacedSessions, Sessions, Subject, Tokens,
};

pub use email::{Email, InvalidEmail};
use metrics::{LoginCounters, login_counters};
use password_check::{ReservedAttempt, VerifiedPassword};
use queries::Credentials;
pub use queries::{Account, AccountDetails};
use throttle::{LoginThrottle, ThrottleKey};

/// How often a password is compared when the account keeps changing after it was read: the password
/// may still be right.
const MAX_COMPARISONS: usize = 3;

/// Accounts and their passwords. Clones share everything.
#[derive(Clone)]
pub struct Accounts {
    db: Database,
    clock: Clock,
    hasher: Hasher,
    policy: PasswordPolicy,
    throttle: Arc<LoginThrottle>,
    sessions: Sessions,
    audit: Audit,
    logins: LoginCounters,
}

/// A login attempt.
#[derive(Debug)]
pub struct LoginAttempt {
    /// The e-mail address as received.
    pub email: String,
    /// The password as received.
    pub password: Secret<String>,
    /// The public client that the session will belong to.
    pub client_id: String,
    /// A refresh token of an earlier session on this device, even if it is already rotated or
    /// expired.
    pub known_device: Option<RefreshToken>,
    /// The sessions that the new one replaces.
    pub replaces: ReplacedSessions,
    /// The client's network, as login throttling counts it: one IPv4 address or one IPv6 /64.
    pub network: String,
    /// The device data stored with the new session.
    pub device: Device,
}

type ClientLookup = Result<ClientSettings, UnknownClient>;

/// Why a sign-up failed.
#[derive(Debug, thiserror::Error)]
pub enum SignUpError {
    /// The address is not a valid e-mail address.
    #[error(transparent)]
    Email(#[from] InvalidEmail),
    /// The password is not acceptable.
    #[error(transparent)]
    Password(#[from] UnacceptablePassword),
    /// An account with this address exists.
    #[error("the e-mail address is taken")]
    Taken,
    /// The hashing queue is full.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LogInError {
    /// Unknown address, wrong or over-long password, or disabled account; the answer does not say
    /// which.
    #[error("the e-mail address or the password is wrong")]
    Wrong,
    /// Too many failed logins.
    #[error("too many failed logins")]
    Throttled {
        /// How long until another attempt is allowed.
        retry_after: Duration,
    },
    /// The password was right each time, but the account changed each time before it could be used.
    #[error("the account is being changed")]
    Changing,
    /// No public client has this id.
    #[error(transparent)]
    Client(#[from] UnknownClient),
    /// The hashing queue is full.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The database did not answer, or the tokens could not be signed.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl From<StoreError> for LogInError {
    fn from(error: StoreError) -> Self {
        Self::Issue(error.into())
    }
}

/// Why a password change failed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The new one is not acceptable.
    #[error(transparent)]
    New(#[from] UnacceptablePassword),
    /// The current password was not accepted.
    #[error(transparent)]
    CurrentPassword(#[from] LogInError),
}

impl Accounts {
    /// Creates the service from its dependencies.
    #[must_use]
    pub fn new(
        db: Database,
        clock: Clock,
        hasher: Hasher,
        policy: PasswordPolicy,
        throttle: Arc<LoginThrottle>,
        sessions: Sessions,
        audit: Audit,
    ) -> Self {
        Self { db, clock, hasher, policy, throttle, sessions, audit, logins: login_counters() }
    }

    /// The hashing pool.
    #[must_use]
    pub const fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Creates an account for a request from `address`.
    ///
    /// # Errors
    /// [`SignUpError`]: no account was created.
    pub async fn sign_up(
        &self,
        email: &str,
        password: &str,
        address: &str,
    ) -> Result<Account, SignUpError> {
        let email = Email::parse(email)?;
        let password = Password::parse(password).map_err(UnacceptablePassword::from)?;
        let personal = vec![email.to_string()];
        let checked = self.hasher.check(self.policy, password.clone(), personal).await?;
        checked.map_err(UnacceptablePassword::from)?;
        let hash = self.hasher.hash(password).await?;
        let (clock, from) = (self.clock.clone(), address.to_owned());
        let made = self.db.write(move |tx| {
            let account = insert_account(tx, &email, &hash, Some(&from), clock.now())?;
            account.map_or_else(
                || Ok(Err(queries::find_id(tx.connection(), &email)?)),
                |it| Ok(Ok(it)),
            )
        });
        made.await?.map_err(|owner| {
            self.audit.record_failure(EventKind::RegistrationRefused, owner, address);
            SignUpError::Taken
        })
    }

    /// Starts a session if the password is right.
    ///
    /// # Errors
    /// [`LogInError`]: no session was started.
    pub async fn log_in(&self, attempt: LoginAttempt) -> Result<Tokens, LogInError> {
        let result = self.log_in_uncounted(Arc::new(attempt)).await;
        self.count_login(&result);
        result
    }

    async fn log_in_uncounted(&self, attempt: Arc<LoginAttempt>) -> Result<Tokens, LogInError> {
        self.sessions.ensure_clock().map_err(IssueError::from)?;
        let password = Password::parse(attempt.password.expose()).ok();
        let key = Email::key_of(&attempt.email);
        // An unknown address gets a fresh id, so that it costs the same reads.
        let unknown_user = Id::new(self.clock.now());
        let mut kept = None;
        for _ in 0..MAX_COMPARISONS {
            let (client, found, known) = self.read_for_login(&attempt, unknown_user).await?;
            // Checked before any comparison: it says nothing about the account.
            let client = client?;
            let reservation = match kept {
                Some(reservation) => reservation,
                None => self.reserve_for(&attempt, found.as_ref(), known)?,
            };
            let right = self
                .verify_password(found, &key, password.clone(), reservation, &attempt.network)
                .await?;
            let VerifiedPassword { found, upgraded, reservation } = right;
            kept = Some(reservation);
            if let Some(grant) = self.start_session(&attempt, client, found, upgraded).await? {
                return Ok(self.sessions.issue(&grant)?);
            }
        }
        Err(LogInError::Changing)
    }

    /// The client, the account's credentials, and what the account knows about the attempt.
    async fn read_for_login(
        &self,
        attempt: &Arc<LoginAttempt>,
        unknown_user: Id,
    ) -> Result<(ClientLookup, Option<Credentials>, KnownSource), StoreError> {
        let (this, attempt) = (self.clone(), Arc::clone(attempt));
        let key = Email::key_of(&attempt.email);
        self.db
            .read(move |c| {
                let LoginAttempt { client_id, known_device, network, .. } = &*attempt;
                let client = clients::settings_of(c, client_id)?;
                let found = queries::credentials(c, &key)?;
                let user = found.as_ref().map_or(unknown_user, |found| found.id);
                Ok((
                    client,
                    found,
                    this.sessions.known_source(c, user, known_device.as_ref(), network)?,
                ))
            })
            .await
    }

    /// Stores the login and starts its session; nothing when the account or the client has changed
    /// since it was read.
    async fn start_session(
        &self,
        attempt: &Arc<LoginAttempt>,
        client: ClientSettings,
        found: Credentials,
        upgraded: Option<PasswordHash>,
    ) -> Result<Option<Grant>, StoreError> {
        let (this, attempt) = (self.clone(), Arc::clone(attempt));
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                let LoginAttempt { client_id, replaces, network, device, .. } = &*attempt;
                // First the user's row, by an UPDATE: a read would not lock it.
                let upgraded = upgraded.as_ref();
                if !queries::record_login(tx.connection(), &found, client_id, upgraded, now)? {
                    return Ok(None);
                }
                // Before the new session starts: starting it may evict other sessions to stay
                // within the limit.
                this.sessions.replace(tx, replaces, network, now)?;
                this.sessions.start(tx, &found.subject(), client_id, client, device, now).map(Some)
            })
            .await
    }

    /// The account of a user.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn profile(&self, user: Id) -> Result<Option<Account>, StoreError> {
        self.db.read(move |c| queries::account(c, user)).await
    }

    /// Changes the password, ends every session of the user, and starts a new one of the same
    /// client.
    ///
    /// # Errors
    /// [`ChangeError`]: the old password stays valid and no session has ended.
    pub async fn change_password(
        &self,
        access: AuthenticatedSession,
        present: &str,
        new: &str,
        device: Device,
    ) -> Result<Tokens, ChangeError> {
        let new = Password::parse(new).map_err(UnacceptablePassword::from)?;
        let address = device.address.clone().unwrap_or_default();
        let (mut found, known) = self.credentials_of(access, &address).await?;
        let personal = vec![found.email.clone()];
        let checked = self.hasher.check(self.policy, new.clone(), personal).await;
        checked.map_err(LogInError::from)?.map_err(UnacceptablePassword::from)?;
        let mut reservation = self.reserve_in_session(access, &found, known, &address)?;
        let present = Password::parse(present).ok();
        for _ in 0..MAX_COMPARISONS {
            let right =
                self.verify_own_password(found, present.clone(), reservation, &address).await?;
            let hash = self.hasher.hash(new.clone()).await.map_err(LogInError::from)?;
            if let Some(grant) =
                self.store_new_password(access, right.found, hash, device.clone()).await?
            {
                return Ok(self.sessions.issue(&grant).map_err(LogInError::from)?);
            }
            reservation = right.reservation;
            (found, _) = self.credentials_of(access, &address).await?;
        }
        Err(LogInError::Changing.into())
    }

    /// Stores a password, ends every session and starts one; `None` when the account has changed
    /// since it was read.
    async fn store_new_password(
        &self,
        access: AuthenticatedSession,
        found: Credentials,
        hash: PasswordHash,
        device: Device,
    ) -> Result<Option<Grant>, LogInError> {
        let this = self.clone();
        let granted = self.db.write(move |tx| {
            let now = this.clock.now();
            if !queries::set_password(tx.connection(), &found, &hash, now)? {
                return Ok(None);
            }
            let address = Some(device.address.as_deref().unwrap_or_default());
            let changed = Event::new(EventKind::PasswordChanged).with_user(found.id);
            audit::record(tx, changed.with_address(address), now)?;
            let client_id = this.sessions.client_of(tx, access.session)?;
            let client = match clients::settings_of(tx.connection(), &client_id)? {
                Ok(client) => client,
                Err(unknown) => return Ok(Some(Err(unknown))),
            };
            this.sessions.record_password_change(tx, found.id, access.session, now)?;
            let cause = EndCause { reason: EndReason::PasswordChanged, address };
            this.sessions.end_all(tx, found.id, None, cause, now)?;
            let grant =
                this.sessions.start(tx, &found.subject(), &client_id, client, &device, now)?;
            Ok(Some(Ok(grant)))
        });
        Ok(granted.await?.transpose()?)
    }

    /// Closes the account at its owner's request from `address`: its sessions end, and personal
    /// data is erased.
    ///
    /// # Errors
    /// [`LogInError`]: the account stays open.
    pub async fn close(
        &self,
        access: AuthenticatedSession,
        password: &str,
        address: &str,
    ) -> Result<(), LogInError> {
        let (mut found, known) = self.credentials_of(access, address).await?;
        let mut reservation = self.reserve_in_session(access, &found, known, address)?;
        let password = Password::parse(password).ok();
        for _ in 0..MAX_COMPARISONS {
            let right =
                self.verify_own_password(found, password.clone(), reservation, address).await?;
            if self.close_if_unchanged(right.found).await? {
                return Ok(());
            }
            reservation = right.reservation;
            (found, _) = self.credentials_of(access, address).await?;
        }
        Err(LogInError::Changing)
    }

    /// Closes an account; false when it has changed since it was read.
    async fn close_if_unchanged(&self, found: Credentials) -> Result<bool, StoreError> {
        let this = self.clone();
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                let closed = queries::close(tx.connection(), &found, now)?;
                if closed {
                    audit::record(
                        tx,
                        Event::new(EventKind::AccountClosed).with_user(found.id),
                        now,
                    )?;
                    let cause = EndReason::AccountClosed.into();
                    this.sessions.end_all(tx, found.id, None, cause, now)?;
                    this.sessions.erase_devices(tx, found.id)?;
                    this.audit.erase_addresses(tx, found.id)?;
                }
                Ok(closed)
            })
            .await
    }

    /// Disables an account: its sessions end and logins are rejected. False when there is no such
    /// account or it was already disabled.
    ///
    /// # Errors
    /// [`StoreError`]: nothing has changed.
    pub async fn disable(&self, user: Id) -> Result<bool, StoreError> {
        let this = self.clone();
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                Ok(admin::disable(this.sessions.revocations(), tx, user, now)?.changed)
            })
            .await
    }

    /// Deletes a batch of closed accounts whose sessions are all deleted. Returns whether there may
    /// be more.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be deleted.
    pub async fn purge(&self) -> Result<bool, StoreError> {
        let deleted = self.db.write(|tx| queries::delete_closed(tx.connection())).await?;
        Ok(deleted > 0)
    }

    /// Reserves a login attempt: under the device, if a refresh token of the account was shown, or
    /// else under the network.
    fn reserve_for(
        &self,
        attempt: &LoginAttempt,
        found: Option<&Credentials>,
        known: KnownSource,
    ) -> Result<ReservedAttempt, LogInError> {
        let (key, user) = (Email::key_of(&attempt.email), found.map(|found| found.id));
        let device = attempt.known_device.as_ref().zip(known.device);
        let device = device.map(|(token, held)| ThrottleKey::Device(token.session, held));
        self.reserve(&key, user, device, known, &attempt.network)
    }

    /// Reserves an attempt by a logged-in user: under the session, with a limit that refresh tokens
    /// of the session cannot use up, or else under the network.
    fn reserve_in_session(
        &self,
        access: AuthenticatedSession,
        found: &Credentials,
        known: KnownSource,
        network: &str,
    ) -> Result<ReservedAttempt, LogInError> {
        let session = ThrottleKey::Session(access.session.uuid());
        self.reserve(&found.email_key, Some(found.id), Some(session), known, network)
    }

    async fn credentials_of(
        &self,
        access: AuthenticatedSession,
        network: &str,
    ) -> Result<(Credentials, KnownSource), LogInError> {
        let (this, network) = (self.clone(), network.to_owned());
        let (found, known) = self
            .db
            .read(move |c| {
                let found = queries::credentials_by_id(c, access.user)?;
                Ok((found, this.sessions.known_source(c, access.user, None, &network)?))
            })
            .await?;
        // Its owner or an operator has closed it since the access token was verified.
        Ok((found.ok_or(LogInError::Changing)?, known))
    }
}

/// Inserts an account in the caller's unit of work; `None` when the address is taken.
fn insert_account(
    tx: &mut Tx<'_>,
    email: &Email,
    hash: &PasswordHash,
    address: Option<&str>,
    now: Timestamp,
) -> QueryResult<Option<Account>> {
    let account = queries::insert(tx.connection(), email, hash, now)?;
    if let Some(Account { id, .. }) = &account {
        let created = Event::new(EventKind::AccountCreated).with_user(*id);
        audit::record(tx, created.with_address(address), now)?;
    }
    Ok(account)
}

impl Credentials {
    fn subject(&self) -> Subject {
        Subject { user: self.id, roles: self.roles.clone() }
    }
}
