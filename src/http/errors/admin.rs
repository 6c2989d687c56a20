//! Errors of the admin API.

use super::invalid;
use crate::accounts::AddAccountError;
use crate::accounts::admin::{AccountChangeError, OperatorMailError};
use crate::clients::{AddError, ClientChangeError, InvalidClient, ProtectedClient};
use crate::http::problem::{Code, Problem};
use crate::tokens::TokenTooLong;

impl From<AddAccountError> for Problem {
    fn from(error: AddAccountError) -> Self {
        match error {
            AddAccountError::Email(error) => invalid("/email", &error),
            AddAccountError::Password(error) => invalid("/password", &error),
            AddAccountError::Hash(error) => invalid("/password_hash", &error),
            AddAccountError::Roles(error) => invalid("/roles", &error),
            AddAccountError::TooLong(error) => error.into(),
            AddAccountError::Taken => Self::new(Code::EmailTaken),
            AddAccountError::Mail(error) => error.into(),
            AddAccountError::Overloaded(overloaded) => overloaded.into(),
            AddAccountError::Store(error) => error.into(),
        }
    }
}

impl From<AccountChangeError> for Problem {
    fn from(error: AccountChangeError) -> Self {
        match error {
            AccountChangeError::NoSuchUser => Self::new(Code::NotFound),
            AccountChangeError::OtherVersion => Self::new(Code::PreconditionFailed),
            AccountChangeError::Taken => Self::new(Code::EmailTaken),
            AccountChangeError::ProofStays => invalid("/email_verified", &error),
            AccountChangeError::Roles(error) => invalid("/roles", &error),
            AccountChangeError::TooLong(error) => error.into(),
            AccountChangeError::Store(error) => error.into(),
        }
    }
}

impl From<OperatorMailError> for Problem {
    fn from(error: OperatorMailError) -> Self {
        match error {
            OperatorMailError::NoSuchUser => Self::new(Code::NotFound),
            OperatorMailError::Taken => Self::new(Code::EmailTaken),
            OperatorMailError::Request(error) => error.into(),
        }
    }
}

impl From<ClientChangeError> for Problem {
    fn from(error: ClientChangeError) -> Self {
        match error {
            ClientChangeError::NoSuchClient => Self::new(Code::NotFound),
            ClientChangeError::OtherVersion => Self::new(Code::PreconditionFailed),
            ClientChangeError::Protected(error) => error.into(),
            ClientChangeError::Invalid(error) => error.into(),
            ClientChangeError::TooLong(error) => error.into(),
            ClientChangeError::Store(error) => error.into(),
        }
    }
}

impl From<AddError> for Problem {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Invalid(error) => error.into(),
            AddError::TooLong(error) => error.into(),
            AddError::Protected(error) => error.into(),
            AddError::Store(error) => error.into(),
        }
    }
}

impl From<ProtectedClient> for Problem {
    fn from(_: ProtectedClient) -> Self {
        Self::new(Code::Forbidden).detail(
            "Clients with a scope of doorward: are administered on the machine only, with doorward \
             client.",
        )
    }
}

impl From<InvalidClient> for Problem {
    fn from(error: InvalidClient) -> Self {
        let pointer = match &error {
            InvalidClient::Name => "/name",
            InvalidClient::Scope(_)
            | InvalidClient::Scopes
            | InvalidClient::DoorwardScope(_)
            | InvalidClient::AppHasNoScopes => "/scopes",
            InvalidClient::Origin(_) | InvalidClient::ServiceHasNoAppSettings => "/origins",
            InvalidClient::TokenLifetime(_) => "/token_lifetime_seconds",
            InvalidClient::RetryWindow(_) => "/retry_window_seconds",
            InvalidClient::Overlap => "/keep_old_seconds",
            InvalidClient::NoSecret => "",
        };
        invalid(pointer, &error)
    }
}

impl From<TokenTooLong> for Problem {
    fn from(error: TokenTooLong) -> Self {
        invalid("", &error)
    }
}
