//! What becomes of logins, counted.

use super::{Accounts, LogInError, queries};
use crate::database::StoreError;
use crate::metrics::{CounterFamily, LabelValue};

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    /// A session was started.
    Succeeded,
    /// Unknown address, wrong password, disabled account.
    InvalidCredentials,
    /// Too many failures for this account.
    Throttled,
    /// No app of this id logs users in.
    UnknownClient,
    /// Too many passwords were waiting to be hashed.
    Overloaded,
    /// The database did not answer, the tokens could not be signed, or the account was being changed.
    Failed,
}

impl LabelValue for LoginOutcome {
    const ALL: &'static [Self] = &[
        Self::Succeeded,
        Self::InvalidCredentials,
        Self::Throttled,
        Self::UnknownClient,
        Self::Overloaded,
        Self::Failed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::InvalidCredentials => "invalid_credentials",
            Self::Throttled => "throttled",
            Self::UnknownClient => "unknown_client",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
        }
    }
}

impl LoginOutcome {
    pub(super) const fn of<T>(result: &Result<T, LogInError>) -> Self {
        match result {
            Ok(_) => Self::Succeeded,
            Err(LogInError::Wrong) => Self::InvalidCredentials,
            Err(LogInError::Throttled { .. }) => Self::Throttled,
            Err(LogInError::Client(_)) => Self::UnknownClient,
            Err(LogInError::Overloaded(_)) => Self::Overloaded,
            Err(LogInError::Changing | LogInError::Issue(_)) => Self::Failed,
        }
    }
}

impl Accounts {
    /// What became of logins since the start.
    #[must_use]
    pub const fn logins(&self) -> &CounterFamily<LoginOutcome> {
        &self.logins
    }

    /// How many accounts are open, those that are disabled among them.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let count = self.db.read(queries::count).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
