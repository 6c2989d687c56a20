//! Login: a new session for the right password and, if the account has one, the second factor.

use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;

use super::password_check::{ReservedAttempt, VerifiedPassword};
use super::queries::{self, Credentials};
use super::second_factor::{FactorChallenge, FactorCheck, UsedFactor};
use super::throttle::ThrottleKey;
use super::{Accounts, Email, MAX_COMPARISONS};
use crate::clients::{self, ClientSettings, UnknownClient};
use crate::database::{Id, StoreError, Tx};
use crate::factors::SecondFactor;
use crate::factors::login_tokens::{EnrolToken, FactorToken};
use crate::passwords::{Overloaded, Password, PasswordHash};
use crate::refresh_token::RefreshToken;
use crate::secret::Secret;
use crate::sessions::{
    AuthMethods, Device, Grant, IssueError, KnownSource, ReplacedSessions, Tokens,
};

/// A login attempt.
#[derive(Debug)]
pub struct LoginAttempt {
    /// The e-mail address as received.
    pub email: String,
    /// The password as received.
    pub password: Secret<String>,
    /// The second factor as received, if it comes with the password.
    pub second_factor: Option<SecondFactor>,
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
    /// Whether the client wants its tokens as cookies.
    pub with_cookies: bool,
}

/// Why a login failed, or a change by a logged-in owner.
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
    /// Too many codes of an authenticator app. Recovery codes are still accepted.
    #[error("too many codes")]
    TooManyCodes {
        /// How long until another code is compared.
        retry_after: Duration,
    },
    /// The password is right, and the second factor is missing.
    #[error("a second factor is required")]
    SecondFactorRequired(FactorChallenge),
    /// The second factor is wrong, or was used before.
    #[error("the second factor is wrong")]
    InvalidSecondFactor,
    /// The token of the unfinished login is invalid or has expired.
    #[error("the factor token is not valid")]
    InvalidFactorToken,
    /// The password is right, and the account must have a second factor but has none.
    #[error("a second factor must be set up")]
    SecondFactorSetupRequired {
        /// The token for setting one up; none after a mailed proof.
        enrol_token: Option<Secret<String>>,
    },
    /// The token for setting up a second factor has expired, or the account has changed since.
    #[error("the enrol token is not valid")]
    InvalidEnrolToken,
    /// A change needs a second factor, and neither the request nor the session has proven one.
    #[error("a second factor must be proven")]
    FactorProofRequired,
    /// The account has no second factor.
    #[error("the account has no second factor")]
    NoFactor,
    /// A second factor needs a proven address, while mail is on.
    #[error("the address is not proven")]
    EmailUnverified,
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

/// A login that has proven everything, for the unit of work that starts its session.
pub(super) struct ProvenLogin {
    pub found: Credentials,
    /// The second factor, which is not used up yet.
    pub used: Option<UsedFactor>,
    /// The upgraded hash, if its parameters are outdated.
    pub upgraded: Option<PasswordHash>,
    pub client: ClientSettings,
    pub client_id: String,
    pub replaces: ReplacedSessions,
    pub device: Device,
    /// Whether the account knows neither the device nor the network.
    pub is_unknown_source: bool,
}

impl Accounts {
    /// Starts a session if the password is right and, for an account with a second factor, that
    /// too.
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
        let mut check =
            attempt.second_factor.as_ref().map(|given| FactorCheck::new(given, &attempt.device));
        for _ in 0..MAX_COMPARISONS {
            let (client, found, known) = self.read_for_login(&attempt, unknown_user).await?;
            // Checked before any comparison: it says nothing about the account.
            let client = client?;
            let reservation = match kept.take() {
                Some(reservation) => reservation,
                None => self.reserve_for(&attempt, found.as_ref(), known)?,
            };
            let right = self
                .verify_password(found, &key, password.clone(), reservation, &attempt.network)
                .await?;
            let is_unknown_source = known == KnownSource::UNKNOWN;
            let proven = self.prove_factor(&attempt, right, check.as_mut(), is_unknown_source);
            let (right, used) = proven.await?;
            let VerifiedPassword { found, upgraded, reservation } = right;
            kept = Some(reservation);
            let login = ProvenLogin {
                found,
                used,
                upgraded,
                client,
                client_id: attempt.client_id.clone(),
                replaces: attempt.replaces.clone(),
                device: attempt.device.clone(),
                is_unknown_source,
            };
            if let Some(grant) = self.start_session(login).await? {
                return Ok(self.sessions.issue(&grant)?);
            }
        }
        Err(LogInError::Changing)
    }

    /// Verifies the second factor of an account that has one, after the right password. While it is
    /// missing or wrong, the password's reservation stays.
    async fn prove_factor(
        &self,
        attempt: &LoginAttempt,
        mut right: VerifiedPassword,
        check: Option<&mut FactorCheck<'_>>,
        is_unknown_source: bool,
    ) -> Result<(VerifiedPassword, Option<UsedFactor>), LogInError> {
        if !right.found.has_factor() {
            if self.requires_factor(&right.found.roles) {
                return Err(self.setup_required(&right.found));
            }
            return Ok((right, None));
        }
        let Some(check) = check else {
            return Err(self.challenge_for(attempt, right, is_unknown_source).await?);
        };
        let used = check.compare_after(&mut right.reservation, self, &right.found).await?;
        Ok((right, Some(used)))
    }

    /// The answer to a right password without the second factor. The upgraded hash is stored now,
    /// because the second request has no password.
    async fn challenge_for(
        &self,
        attempt: &LoginAttempt,
        right: VerifiedPassword,
        is_unknown_source: bool,
    ) -> Result<LogInError, StoreError> {
        let VerifiedPassword { found, upgraded, reservation } = right;
        let shares = reservation.into_shares();
        let token = FactorToken {
            user: found.id.uuid(),
            version: found.version,
            issued_at: self.clock.now(),
            client_id: attempt.client_id.clone(),
            label: attempt.device.label.clone(),
            with_cookies: attempt.with_cookies,
            is_unknown_source,
            shares,
        };
        let challenge = self.challenge(&token, &found);
        if let Some(upgraded) = upgraded {
            self.db
                .write(move |tx| queries::upgrade_hash(tx.connection(), &found, &upgraded))
                .await?;
        }
        Ok(challenge)
    }

    /// The error that asks for the second factor.
    pub(super) fn challenge(&self, token: &FactorToken, found: &Credentials) -> LogInError {
        LogInError::SecondFactorRequired(FactorChallenge {
            factor_token: Secret::new(token.encode(&self.factors.keys)),
            factors: found.factors(),
        })
    }

    /// The error that asks for a second factor to be set up.
    fn setup_required(&self, found: &Credentials) -> LogInError {
        let token = EnrolToken {
            user: found.id.uuid(),
            version: found.version,
            issued_at: self.clock.now(),
        };
        let enrol_token = Some(Secret::new(token.encode(&self.factors.keys)));
        LogInError::SecondFactorSetupRequired { enrol_token }
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
    /// since it was read, or another request has used the second factor.
    pub(super) async fn start_session(
        &self,
        login: ProvenLogin,
    ) -> Result<Option<Grant>, StoreError> {
        let this = self.clone();
        let uses_recovery_code = matches!(login.used, Some(UsedFactor::RecoveryCode { .. }));
        let start = move |tx: &mut Tx<'_>| {
            if uses_recovery_code {
                // Two statements: without a session the code is not used up.
                return tx.in_savepoint(|tx| this.start_session_in_tx(tx, &login));
            }
            this.start_session_in_tx(tx, &login)
        };
        self.db.write(start).await
    }

    fn start_session_in_tx(
        &self,
        tx: &mut Tx<'_>,
        login: &ProvenLogin,
    ) -> QueryResult<Option<Grant>> {
        let now = self.clock.now();
        let ProvenLogin { found, used, upgraded, client_id, device, .. } = login;
        // First the user's row, by an UPDATE: a read would not lock it.
        if let Some(code @ UsedFactor::RecoveryCode { .. }) = used
            && !self.use_factor(tx, found, code, device, now)?
        {
            return Ok(None);
        }
        let step = used.as_ref().and_then(UsedFactor::step);
        let upgraded = upgraded.as_ref();
        if !queries::record_login(tx.connection(), found, client_id, upgraded, step, now)? {
            return Ok(None);
        }
        if login.is_unknown_source {
            self.notify_of_new_device(tx, found, device, now)?;
        }
        // Before the new session starts: starting it may evict other sessions to stay within the
        // limit.
        self.sessions.replace(tx, &login.replaces, device, now)?;
        let methods = used.as_ref().map_or(AuthMethods::PASSWORD, UsedFactor::methods);
        let subject = found.subject(now, methods);
        self.sessions.start(tx, &subject, client_id, login.client, device, now).map(Some)
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
