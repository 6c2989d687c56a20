//! The second factor of a login, or of a change by the owner.
//!
//! A code of an authenticator app is one of a million, so guesses are limited by the account's row,
//! on all nodes together: each is reserved by a commit before the code is compared. A right code is
//! used up by the unit of work that relies on it, which gives the guess back. Recovery codes are
//! beyond guessing and not limited, so nobody can lock the owner out.

use std::time::Duration;

use diesel::QueryResult;
use tracing::Instrument as _;

use super::mail_proof::notice_context;
use super::password_check::ReservedAttempt;
use super::queries::{self, Credentials};
use super::{Accounts, LogInError};
use crate::audit::{self, Event, EventKind};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError, Tx};
use crate::factors::keys::{FactorKeys, SealContext};
use crate::factors::login_tokens::{EnrolToken, FactorToken};
use crate::factors::{FactorKind, SecondFactor, recovery_codes, totp};
use crate::mail::messages::MessageKind;
use crate::mail::notices::NoticeContext;
use crate::secret::Secret;
use crate::sessions::{AuthMethods, Device, IssueError};

/// Guesses at the codes of an account within [`GUESS_WINDOW`].
const MAX_GUESSES: i64 = 20;

/// The period over which guesses are limited.
const GUESS_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// The numbers of guesses at which the owner is notified of a wrong one: somebody knows the
/// password.
const NOTIFIED_GUESSES: [i64; 2] = [5, MAX_GUESSES];

/// The settings and keys of second factors.
#[derive(Clone, Debug)]
pub struct FactorPolicy {
    /// The keys of TOTP secrets and of the tokens of unfinished logins.
    pub keys: FactorKeys,
    /// How long a session may change its account after a second factor was proven.
    pub fresh_for: Duration,
    /// The accounts that cannot log in without a second factor.
    pub required: RequiredFactor,
    /// The name of the service in an authenticator app.
    pub service: String,
}

/// The accounts that cannot log in without a second factor.
#[derive(Clone, Debug)]
pub enum RequiredFactor {
    /// None.
    Off,
    /// All.
    All,
    /// Those with one of these roles.
    Roles(Vec<String>),
}

impl RequiredFactor {
    fn applies_to(&self, roles: &[String]) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::Roles(listed) => roles.iter().any(|role| listed.contains(role)),
        }
    }
}

/// The answer to a right password of an account with a second factor.
#[derive(Debug)]
pub struct FactorChallenge {
    /// The token of the unfinished login.
    pub factor_token: Secret<String>,
    /// The second factors that the account has.
    pub factors: Vec<FactorKind>,
}

/// A right second factor that is not used up yet.
#[derive(Clone, Debug)]
pub(super) enum UsedFactor {
    /// A code of an authenticator app.
    Totp {
        /// Its step.
        step: i64,
    },
    /// A recovery code.
    RecoveryCode {
        /// The digests of the others.
        left: Vec<u8>,
    },
}

impl UsedFactor {
    /// The methods of an authentication with it and the password.
    pub(super) const fn methods(&self) -> AuthMethods {
        match self {
            Self::Totp { .. } => AuthMethods::TOTP,
            Self::RecoveryCode { .. } => AuthMethods::RECOVERY_CODE,
        }
    }

    /// The step of a code.
    pub(super) const fn step(&self) -> Option<i64> {
        match self {
            Self::Totp { step } => Some(*step),
            Self::RecoveryCode { .. } => None,
        }
    }
}

impl Credentials {
    /// Whether the account has a second factor. The stored secret is the only truth.
    pub(super) const fn has_factor(&self) -> bool {
        self.totp_secret.is_some()
    }

    /// The account's second factors.
    pub(super) fn factors(&self) -> Vec<FactorKind> {
        let totp = self.totp_secret.as_ref().map(|_| FactorKind::Totp);
        let codes = self.recovery_codes.as_ref().filter(|digests| !digests.is_empty());
        totp.into_iter().chain(codes.map(|_| FactorKind::RecoveryCode)).collect()
    }
}

/// A second factor of a request, for which at most one guess is reserved.
pub(super) struct FactorCheck<'a> {
    given: &'a SecondFactor,
    device: &'a Device,
    /// The number of guesses within the window, with the reserved one.
    guesses: Option<i64>,
}

impl<'a> FactorCheck<'a> {
    pub(super) const fn new(given: &'a SecondFactor, device: &'a Device) -> Self {
        Self { given, device, guesses: None }
    }

    /// [`Self::compare`] after a right password. Its reservation stays unless the second factor is
    /// right, or could not be compared.
    ///
    /// # Errors
    /// As [`Self::compare`].
    pub(super) async fn compare_after(
        &mut self,
        reservation: &mut ReservedAttempt,
        accounts: &Accounts,
        found: &Credentials,
    ) -> Result<UsedFactor, LogInError> {
        reservation.keep();
        let compared = self.compare(accounts, found).await;
        let refused = |error: &LogInError| {
            matches!(error, LogInError::InvalidSecondFactor | LogInError::TooManyCodes { .. })
        };
        if !compared.as_ref().is_err_and(refused) {
            reservation.release();
        }
        compared
    }

    /// Compares the second factor with the account's. It can be repeated for an account that has
    /// changed meanwhile.
    ///
    /// # Errors
    /// [`LogInError::InvalidSecondFactor`], [`LogInError::TooManyCodes`].
    pub(super) async fn compare(
        &mut self,
        accounts: &Accounts,
        found: &Credentials,
    ) -> Result<UsedFactor, LogInError> {
        let used = match self.given {
            // A typing error is not a guess.
            SecondFactor::Totp(code) if !totp::is_code(code.expose()) => None,
            SecondFactor::Totp(code) => {
                if self.guesses.is_none() {
                    self.guesses = Some(accounts.reserve_guess(found.id, self.device).await?);
                }
                accounts.used_step(found, code.expose())?
            }
            SecondFactor::RecoveryCode(code) => {
                let digests = found.recovery_codes.as_deref().filter(|_| found.has_factor());
                let left = digests.and_then(|own| recovery_codes::without(own, code.expose()));
                left.map(|left| UsedFactor::RecoveryCode { left })
            }
        };
        if let Some(used) = used {
            return Ok(used);
        }
        let network = self.device.address.as_deref().unwrap_or_default();
        accounts.audit.record_failure(EventKind::SecondFactorFailed, Some(found.id), network);
        if self.guesses.is_some_and(|guesses| NOTIFIED_GUESSES.contains(&guesses)) {
            accounts.notify_of_guesses(found.id, self.device).await?;
        }
        Err(LogInError::InvalidSecondFactor)
    }
}

impl Accounts {
    /// Whether the settings require a second factor of an account with these roles.
    pub(super) fn requires_factor(&self, roles: &[String]) -> bool {
        self.factors.required.applies_to(roles)
    }

    /// Reads the token of an unfinished login.
    ///
    /// # Errors
    /// [`LogInError::InvalidFactorToken`], or [`LogInError::Issue`] while the node's clock is
    /// wrong.
    pub fn read_factor_token(&self, text: &str) -> Result<FactorToken, LogInError> {
        // A clock that is ahead would make every token an expired one.
        self.sessions.ensure_clock().map_err(IssueError::from)?;
        FactorToken::decode(text, &self.factors.keys, self.clock.now())
            .map_err(|_| LogInError::InvalidFactorToken)
    }

    /// Reads the token of a login that needs a second factor to be set up.
    ///
    /// # Errors
    /// [`LogInError::InvalidEnrolToken`], or [`LogInError::Issue`] while the node's clock is wrong.
    pub fn read_enrol_token(&self, text: &str) -> Result<EnrolToken, LogInError> {
        self.sessions.ensure_clock().map_err(IssueError::from)?;
        EnrolToken::decode(text, &self.factors.keys, self.clock.now())
            .map_err(|_| LogInError::InvalidEnrolToken)
    }

    /// Reserves a guess at a code of the account, on all nodes. Returns the number of guesses
    /// within the window.
    async fn reserve_guess(&self, user: Id, device: &Device) -> Result<i64, LogInError> {
        let now = self.clock.now();
        let reserved = self.db.write(move |tx| {
            let limit = (MAX_GUESSES, GUESS_WINDOW);
            match queries::factors::reserve_guess(tx.connection(), user, limit, now)? {
                Some(guesses) => Ok(Ok(guesses)),
                None => queries::factors::guesses_since(tx.connection(), user).map(Err),
            }
        });
        reserved.await?.map_err(|since| {
            let network = device.address.as_deref().unwrap_or_default();
            let throttled = EventKind::SecondFactorThrottled;
            self.audit.record_failure(throttled, Some(user), network);
            let until = since.unwrap_or(now).plus(GUESS_WINDOW);
            let retry_after = until.since(now).max(Duration::from_secs(1));
            LogInError::TooManyCodes { retry_after }
        })
    }

    /// Notifies the owner of many wrong codes, also if the client has disconnected.
    async fn notify_of_guesses(&self, user: Id, device: &Device) -> Result<(), StoreError> {
        let (this, device) = (self.clone(), device.clone());
        let notified = async move {
            let (db, mail, clock) = (this.db, this.mail, this.clock);
            let notify = move |tx: &mut Tx<'_>| {
                let (message, context) = (MessageKind::SecondFactorFailed, notice_context(&device));
                mail.notify(tx, user, message, context, clock.now())
            };
            db.write(notify).await
        };
        let notified = tokio::spawn(notified.in_current_span()).await;
        notified.map_err(|_| StoreError::Failed)?
    }

    /// The step of a right code, unless a code of that step or a later one was accepted before.
    fn used_step(&self, found: &Credentials, code: &str) -> Result<Option<UsedFactor>, StoreError> {
        let Some(sealed) = &found.totp_secret else { return Ok(None) };
        let context = SealContext::Confirmed { user: found.id.uuid() };
        let secret = self.factors.keys.open(sealed, context).map_err(|error| {
            tracing::error!(user = %found.id, %error, "a TOTP secret cannot be decrypted");
            StoreError::Failed
        })?;
        let step = secret.matching_step(code, self.clock.now());
        let unused = step.filter(|step| found.totp_last_step.is_none_or(|last| *step > last));
        Ok(unused.map(|step| UsedFactor::Totp { step }))
    }

    /// Uses a second factor up, as the first statement of the caller's unit of work; false when the
    /// account has changed since it was read, or another request was faster.
    pub(super) fn use_factor(
        &self,
        tx: &mut Tx<'_>,
        found: &Credentials,
        used: &UsedFactor,
        device: &Device,
        now: Timestamp,
    ) -> QueryResult<bool> {
        if !queries::factors::use_factor(tx.connection(), found, used)? {
            return Ok(false);
        }
        if let UsedFactor::RecoveryCode { left } = used {
            let left = recovery_codes::count(left);
            let used = Event::new(EventKind::RecoveryCodeUsed).with_user(found.id);
            let address = device.address.as_deref();
            audit::record(tx, used.with_address(address).with_detail(left.to_string()), now)?;
            let context = NoticeContext { codes_left: Some(left), ..notice_context(device) };
            self.mail.notify(tx, found.id, MessageKind::RecoveryCodeUsed, context, now)?;
        }
        Ok(true)
    }

    /// Encrypts under the current master secret the TOTP secrets that only the previous one opens,
    /// so that it can be dropped.
    ///
    /// # Errors
    /// [`StoreError`]: some may be done; another call continues.
    pub async fn reseal_factors(&self, pause: Duration) -> Result<(), StoreError> {
        let mut after = None;
        while self.factors.keys.has_previous() {
            let rows =
                self.db.read(move |c| queries::factors::sealed_secrets(c, after, 200)).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
            let mut resealed = Vec::new();
            for (user, sealed) in rows {
                let Some(old) = sealed else { continue };
                match self.factors.keys.reseal(&old, user.uuid()) {
                    Ok(None) => {}
                    Ok(Some(new)) => resealed.push((user, old, new)),
                    Err(error) => {
                        tracing::error!(%user, %error, "a TOTP secret cannot be decrypted");
                    }
                }
            }
            self.db
                .write(move |tx| {
                    resealed.iter().try_for_each(|(user, old, new)| {
                        queries::factors::reseal(tx.connection(), *user, old, new)
                    })
                })
                .await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }
}
