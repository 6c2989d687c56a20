//! Conversion of domain errors to problems: an exhaustive `match` for each group of operations.

mod admin;

use std::time::Duration;

use actix_web::error::{PathError, QueryPayloadError};

use super::problem::{Code, Problem};
use crate::accounts::mail_proof::{ConfirmError, RequestMailError};
use crate::accounts::{ChangeError, ConfirmTotpError, FactorChallenge, LogInError, SignUpError};
use crate::clients::{AuthenticationError, UnknownClient};
use crate::database::StoreError;
use crate::factors::FactorKind;
use crate::mail::requests::MailRequestError;
use crate::passwords::Overloaded;
use crate::refresh_token::Malformed;
use crate::sessions::authenticate::AccessError;
use crate::sessions::client_credentials::ClientGrantError;
use crate::sessions::introspection::{IntrospectError, RevokeError};
use crate::sessions::refresh::{RefreshError, Refusal};
use crate::sessions::{ClockSkewed, IssueError, LogOutError};
use crate::tokens::TokenError;

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable => Self::new(Code::Unavailable),
            StoreError::Failed => Self::new(Code::InternalError),
        }
    }
}

impl From<Overloaded> for Problem {
    fn from(overloaded: Overloaded) -> Self {
        Self::new(Code::Overloaded).retry_after(overloaded.retry_after)
    }
}

impl From<IssueError> for Problem {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::Store(error) => error.into(),
            IssueError::Signing => Self::new(Code::InternalError),
            IssueError::Clock(error) => error.into(),
        }
    }
}

impl From<ClockSkewed> for Problem {
    fn from(_: ClockSkewed) -> Self {
        Self::new(Code::Unavailable)
            .detail("The clock of this node is wrong. Keep your tokens and try again.")
    }
}

impl From<SignUpError> for Problem {
    fn from(error: SignUpError) -> Self {
        match error {
            SignUpError::Closed => Self::new(Code::RegistrationClosed),
            SignUpError::Email(error) => invalid("/email", &error),
            SignUpError::Password(error) => invalid("/password", &error),
            SignUpError::Taken => Self::new(Code::EmailTaken),
            SignUpError::Overloaded(overloaded) => overloaded.into(),
            SignUpError::Store(error) => error.into(),
        }
    }
}

impl From<LogInError> for Problem {
    fn from(error: LogInError) -> Self {
        match error {
            LogInError::Wrong => Self::new(Code::InvalidCredentials),
            LogInError::SecondFactorRequired(FactorChallenge { factor_token, factors }) => {
                let factors = factors.into_iter().map(FactorKind::as_str).collect();
                Self::new(Code::SecondFactorRequired).factor_token(factor_token, factors)
            }
            LogInError::InvalidSecondFactor => Self::new(Code::InvalidSecondFactor),
            LogInError::InvalidFactorToken => Self::new(Code::InvalidSecondFactor)
                .detail("The factor token is invalid or has expired. Log in again.")
                .field("/factor_token", "It is invalid or has expired."),
            LogInError::SecondFactorSetupRequired { enrol_token } => {
                Self::new(Code::SecondFactorSetupRequired).enrol_token(enrol_token)
            }
            LogInError::InvalidEnrolToken => Self::new(Code::InvalidToken)
                .detail("The enrol token is invalid or has expired. Log in again."),
            LogInError::FactorProofRequired => Self::new(Code::FactorProofRequired),
            LogInError::NoFactor => {
                Self::new(Code::NotFound).detail("The account has no second factor.")
            }
            LogInError::EmailUnverified => Self::new(Code::EmailUnverified),
            LogInError::Throttled { retry_after } => {
                Self::new(Code::TooManyFailedLogins).retry_after(retry_after)
            }
            LogInError::TooManyCodes { retry_after } => Self::new(Code::TooManyFailedLogins)
                .retry_after(retry_after)
                .detail("Too many codes were tried. Send a recovery code, or try again later."),
            LogInError::Changing => Self::new(Code::Unavailable)
                .detail("The account is being changed. Nothing was done; try again."),
            LogInError::Client(unknown) => unknown.into(),
            LogInError::Overloaded(overloaded) => overloaded.into(),
            LogInError::Issue(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::New(error) => invalid("/new_password", &error),
            ChangeError::CurrentPassword(error) => {
                Self::from_reauthentication(error, "/current_password")
            }
        }
    }
}

impl From<MailRequestError> for Problem {
    fn from(error: MailRequestError) -> Self {
        match error {
            MailRequestError::Off => Self::new(Code::EmailOff),
            MailRequestError::TooMany { retry_after } => Self::new(Code::RateLimited)
                .detail("Too many messages to this address were requested. Try again later.")
                .retry_after(retry_after),
            MailRequestError::Full { retry_after } => {
                Self::new(Code::Overloaded).retry_after(retry_after)
            }
            MailRequestError::Store(error) => error.into(),
        }
    }
}

impl From<RequestMailError> for Problem {
    fn from(error: RequestMailError) -> Self {
        match error {
            RequestMailError::Closed => Self::new(Code::RegistrationClosed),
            RequestMailError::Email(error) => invalid("/email", &error),
            RequestMailError::Password(error) => invalid("/password", &error),
            RequestMailError::Overloaded(overloaded) => overloaded.into(),
            RequestMailError::CurrentPassword(error) => {
                Self::from_reauthentication(error, "/current_password")
            }
            RequestMailError::Request(error) => error.into(),
            RequestMailError::Clock(error) => error.into(),
        }
    }
}

impl From<ConfirmError> for Problem {
    fn from(error: ConfirmError) -> Self {
        match error {
            ConfirmError::InvalidLink => Self::new(Code::InvalidLink),
            ConfirmError::Off => Self::new(Code::EmailOff),
            ConfirmError::Closed => Self::new(Code::RegistrationClosed),
            ConfirmError::NotLoggedIn(error) => Self::from_reset(error),
            ConfirmError::Password(error) => invalid("/password", &error),
            ConfirmError::Client(unknown) => unknown.into(),
            ConfirmError::Overloaded(overloaded) => overloaded.into(),
            ConfirmError::Issue(error) => error.into(),
        }
    }
}

impl Problem {
    /// For a caller who is already logged in: a 401 would make a client discard a valid token.
    pub(super) fn from_reauthentication(error: LogInError, pointer: &'static str) -> Self {
        match error {
            LogInError::Wrong => {
                Self::new(Code::WrongPassword).field(pointer, Code::WrongPassword.detail())
            }
            LogInError::InvalidSecondFactor => {
                let detail = Code::InvalidSecondFactor.detail();
                Self::new(Code::FactorProofRequired).detail(detail).field("/second_factor", detail)
            }
            LogInError::Throttled { .. }
            | LogInError::TooManyCodes { .. }
            | LogInError::SecondFactorRequired(_)
            | LogInError::InvalidFactorToken
            | LogInError::SecondFactorSetupRequired { .. }
            | LogInError::InvalidEnrolToken
            | LogInError::FactorProofRequired
            | LogInError::NoFactor
            | LogInError::EmailUnverified
            | LogInError::Changing
            | LogInError::Client(_)
            | LogInError::Overloaded(_)
            | LogInError::Issue(_) => error.into(),
        }
    }

    /// For a login, with the member that has the second factor.
    pub(super) fn from_login(error: LogInError, pointer: &str) -> Self {
        let is_wrong_factor = matches!(error, LogInError::InvalidSecondFactor);
        let problem = Self::from(error);
        if is_wrong_factor {
            return problem.field(pointer, Code::InvalidSecondFactor.detail());
        }
        problem
    }

    /// For a reset that has set the password and started no session.
    fn from_reset(error: LogInError) -> Self {
        let is_setup = matches!(error, LogInError::SecondFactorSetupRequired { .. });
        let problem = Self::from(error);
        if is_setup {
            return problem.detail(
                "The password is set. This account needs a second factor: log in to set one up.",
            );
        }
        problem
    }
}

impl From<ConfirmTotpError> for Problem {
    fn from(error: ConfirmTotpError) -> Self {
        match error {
            ConfirmTotpError::WrongCode => invalid("/code", &"the code is wrong"),
            ConfirmTotpError::NothingPending => invalid(
                "/code",
                &"no secret of this session waits to be confirmed; request one at /me/totp",
            ),
            ConfirmTotpError::Rejected(error) => error.into(),
        }
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Refused(refusal) => refusal.into(),
            RefreshError::Client(unknown) => unknown.into(),
            RefreshError::Issue(error) => error.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(Code::InvalidGrant).detail(refusal.explanation()).reason(refusal.as_str())
    }
}

impl From<UnknownClient> for Problem {
    fn from(_: UnknownClient) -> Self {
        Self::new(Code::UnknownClient)
    }
}

impl From<AuthenticationError> for Problem {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::Wrong => Self::new(Code::InvalidClient),
            AuthenticationError::Store(error) => error.into(),
        }
    }
}

impl From<ClientGrantError> for Problem {
    fn from(error: ClientGrantError) -> Self {
        match error {
            ClientGrantError::Scope => Self::new(Code::InvalidScope),
            ClientGrantError::Issue(error) => error.into(),
        }
    }
}

impl From<IntrospectError> for Problem {
    fn from(error: IntrospectError) -> Self {
        match error {
            IntrospectError::Stale => Self::new(Code::RevocationsStale),
            IntrospectError::Clock(error) => error.into(),
            IntrospectError::Store(error) => error.into(),
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::WrongClient => Self::from(Refusal::WrongClient)
                .detail("The token was issued to another client, and stays valid."),
            RevokeError::Client(unknown) => unknown.into(),
            // A purge frees space, once a minute.
            RevokeError::Full => Self::new(Code::Overloaded).retry_after(Duration::from_secs(60)),
            RevokeError::Store(error) => error.into(),
        }
    }
}

impl From<Malformed> for Problem {
    fn from(_: Malformed) -> Self {
        Refusal::UnknownToken.into()
    }
}

impl From<LogOutError> for Problem {
    fn from(error: LogOutError) -> Self {
        match error {
            LogOutError::Store(error) => error.into(),
            LogOutError::Unknown => Refusal::UnknownToken.into(),
        }
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Token(TokenError::Expired) => Self::new(Code::TokenExpired),
            AccessError::Token(error) => Self::new(Code::InvalidToken)
                .detail(format!("The access token is rejected: {error}.")),
            AccessError::NoUser => Self::new(Code::InvalidToken)
                .detail("The access token belongs to a client, not to a user."),
            AccessError::Revoked => Self::new(Code::TokenRevoked),
            AccessError::Stale => Self::new(Code::RevocationsStale),
            AccessError::KeysUnavailable => Self::new(Code::Unavailable),
            AccessError::Clock(error) => error.into(),
        }
    }
}

impl From<QueryPayloadError> for Problem {
    fn from(_: QueryPayloadError) -> Self {
        Self::new(Code::MalformedRequest)
            .detail("The query does not match this resource; openapi.yaml lists its parameters.")
    }
}

impl From<PathError> for Problem {
    fn from(_: PathError) -> Self {
        Self::new(Code::NotFound)
    }
}

pub(super) fn invalid(pointer: &'static str, error: &dyn std::fmt::Display) -> Problem {
    let detail = error.to_string();
    Problem::new(Code::InvalidFields).detail(detail.clone()).field(pointer, detail)
}
