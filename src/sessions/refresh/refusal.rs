//! The reasons for which a refresh token is refused, and their explanations.

use crate::sessions::rotation::EndReason;

/// Why a refresh token is no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.explanation())]
pub enum Refusal {
    /// It is malformed, or its session is deleted.
    UnknownToken,
    /// It was issued to another client.
    WrongClient,
    /// Its session has reached its idle or absolute timeout.
    Expired,
    /// It was already rotated; its use has ended the session.
    Reused,
    /// Its session was ended before.
    Ended(EndReason),
}

impl Refusal {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownToken => "unknown_token",
            Self::WrongClient => "wrong_client",
            Self::Expired => "expired",
            Self::Reused => EndReason::RefreshTokenReused.as_str(),
            Self::Ended(reason) => reason.as_str(),
        }
    }

    /// One sentence for the user.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::UnknownToken => "The refresh token is unknown. Log in again.",
            Self::WrongClient => {
                "The refresh token was issued to another client. Send the client_id of the login."
            }
            Self::Expired => "The session has expired. Log in again.",
            Self::Ended(EndReason::Logout) => "The session was logged out. Log in again.",
            Self::Ended(EndReason::EndedByUser) => {
                "The session was ended from the list of sessions. Log in again."
            }
            Self::Ended(EndReason::EndedByOperator) => {
                "An operator ended the session. Log in again."
            }
            Self::Reused | Self::Ended(EndReason::RefreshTokenReused) => {
                "An already rotated refresh token of this session was used again, so it may have \
                 been stolen. Log in again."
            }
            Self::Ended(EndReason::PasswordChanged) => "The password was changed. Log in again.",
            Self::Ended(EndReason::PasswordReset) => {
                "The password was reset. Log in with the new one."
            }
            Self::Ended(EndReason::EmailChanged) => {
                "The account's e-mail address was changed. Log in with the new one."
            }
            Self::Ended(EndReason::RolesChanged) => {
                "The account's permissions have changed. Log in again."
            }
            Self::Ended(EndReason::FactorsReset) => {
                "The second factors of the account were removed. Log in again."
            }
            Self::Ended(EndReason::AccountDisabled) => "The account is disabled.",
            Self::Ended(EndReason::AccountClosed) => "The account was closed.",
            Self::Ended(EndReason::TooManySessions) => {
                "The session was ended to make room for a newer one of the same account. Log in \
                 again."
            }
            Self::Ended(EndReason::Replaced) => {
                "A later login in the same browser replaced the session."
            }
            Self::Ended(EndReason::BackupRestored) => {
                "The service was restored from a backup. Log in again."
            }
            Self::Ended(EndReason::ClientRemoved) => {
                "The client that the session belongs to was removed."
            }
        }
    }
}
