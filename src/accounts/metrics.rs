//! Counts logins by outcome.

use super::{Accounts, LogInError, queries};
use crate::database::StoreError;
use crate::metrics::{Counter, EncodeLabelSet, Family, counters};
use crate::named::named;

named! {
    /// The outcome of a login.
    pub enum LoginOutcome {
        /// A session was started.
        Succeeded = "succeeded",
        /// Unknown address, wrong password, disabled account.
        InvalidCredentials = "invalid_credentials",
        /// The password was right, and the second factor is missing.
        SecondFactorRequired = "second_factor_required",
        /// The second factor was wrong or used before, or its token has expired.
        InvalidSecondFactor = "invalid_second_factor",
        /// The password was right, and a second factor must be set up first.
        SecondFactorSetupRequired = "second_factor_setup_required",
        /// Too many failed logins, or codes, for this account.
        Throttled = "throttled",
        /// No public client has this id.
        UnknownClient = "unknown_client",
        /// The hashing queue was full.
        Overloaded = "overloaded",
        /// The database did not answer, the tokens could not be signed, or the account was being
        /// changed.
        Failed = "failed",
    }
}

/// The label of the logins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LoginLabel {
    /// The outcome of the login.
    pub outcome: LoginOutcome,
}

/// Logins by their outcome.
pub type LoginCounters = Family<LoginLabel, Counter>;

pub(super) fn login_counters() -> LoginCounters {
    counters(LoginOutcome::ALL.iter().map(|&outcome| LoginLabel { outcome }))
}

impl LoginOutcome {
    const fn of<T>(result: &Result<T, LogInError>) -> Self {
        match result {
            Ok(_) => Self::Succeeded,
            Err(LogInError::Wrong) => Self::InvalidCredentials,
            Err(LogInError::SecondFactorRequired(_)) => Self::SecondFactorRequired,
            Err(LogInError::InvalidSecondFactor | LogInError::InvalidFactorToken) => {
                Self::InvalidSecondFactor
            }
            Err(LogInError::SecondFactorSetupRequired { .. }) => Self::SecondFactorSetupRequired,
            Err(LogInError::Throttled { .. } | LogInError::TooManyCodes { .. }) => Self::Throttled,
            Err(LogInError::Client(_)) => Self::UnknownClient,
            Err(LogInError::Overloaded(_)) => Self::Overloaded,
            // The last four are for changes by a logged-in owner, which are not counted.
            Err(
                LogInError::Changing
                | LogInError::Issue(_)
                | LogInError::FactorProofRequired
                | LogInError::InvalidEnrolToken
                | LogInError::NoFactor
                | LogInError::EmailUnverified,
            ) => Self::Failed,
        }
    }
}

impl Accounts {
    /// The logins since the start.
    #[must_use]
    pub const fn logins(&self) -> &LoginCounters {
        &self.logins
    }

    pub(super) fn count_login<T>(&self, result: &Result<T, LogInError>) {
        let outcome = LoginOutcome::of(result);
        self.logins.get_or_create(&LoginLabel { outcome }).inc();
    }

    /// The number of open accounts, disabled ones included.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let count = self.db.read(queries::count).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The number of open accounts with a second factor.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count_with_factor(&self) -> Result<u64, StoreError> {
        let count = self.db.read(queries::factors::count).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
