//! Login: a new session for the right password.

use std::sync::Arc;
use std::time::Duration;

use super::password_check::{ReservedAttempt, VerifiedPassword};
use super::queries::{self, Credentials};
use super::throttle::ThrottleKey;
use super::{Accounts, Email, MAX_COMPARISONS};
use crate::clients::{self, ClientSettings, UnknownClient};
use crate::database::{Id, StoreError};
use crate::passwords::{Overloaded, Password, PasswordHash};
use crate::refresh_token::RefreshToken;
use crate::secret::Secret;
use crate::sessions::{Device, Grant, IssueError, KnownSource, ReplacedSessions, Tokens};

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

type ClientLookup = Result<ClientSettings, UnknownClient>;

impl Accounts {
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
            if let Some(grant) =
                self.start_session(&attempt, client, found, upgraded, known).await?
            {
                return Ok(self.sessions.issue(&grant)?);
            }
        }
        Err(LogInError::Changing)
    }

    /// Reads the client, the account's credentials, and whether the attempt's device and network
    /// are known to the account.
    async fn read_for_login(
        &self,
        attempt: &Arc<LoginAttempt>,
        unknown_user: Id,
    ) -> Result<(ClientLookup, Option<Credentials>, KnownSource), StoreError> {
        let (this, attempt) = (self.clone(), Arc::clone(attempt));
        let keys = Email::keys_of(&attempt.email);
        self.db
            .read(move |c| {
                let LoginAttempt { client_id, known_device, network, .. } = &*attempt;
                let client = clients::settings_of(c, client_id)?;
                let found = queries::credentials(c, &keys)?;
                let user = found.as_ref().map_or(unknown_user, |found| found.id);
                Ok((
                    client,
                    found,
                    this.sessions.known_source(c, user, known_device.as_ref(), network)?,
                ))
            })
            .await
    }

    /// Stores the login and starts its session; `None` when the account or the client has changed
    /// since it was read.
    async fn start_session(
        &self,
        attempt: &Arc<LoginAttempt>,
        client: ClientSettings,
        found: Credentials,
        upgraded: Option<PasswordHash>,
        known: KnownSource,
    ) -> Result<Option<Grant>, StoreError> {
        let (this, attempt) = (self.clone(), Arc::clone(attempt));
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                let LoginAttempt { client_id, replaces, device, .. } = &*attempt;
                // First the user's row, by an UPDATE: a read would not lock it.
                let upgraded = upgraded.as_ref();
                if !queries::record_login(tx.connection(), &found, client_id, upgraded, now)? {
                    return Ok(None);
                }
                if known == KnownSource::UNKNOWN {
                    this.notify_of_new_device(tx, &found, device, now)?;
                }
                // Before the new session starts: starting it may evict other sessions to stay
                // within the limit.
                this.sessions.replace(tx, replaces, device, now)?;
                this.sessions.start(tx, &found.subject(), client_id, client, device, now).map(Some)
            })
            .await
    }

    /// Reserves a login attempt for the device if the request has a refresh token of the account,
    /// otherwise for the network.
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
}
