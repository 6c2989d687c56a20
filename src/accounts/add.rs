//! An account that an operator adds over HTTP.

use super::admin::{AccountAdmin, OperatorMailError};
use super::{AccountDetails, Accounts, Email, InvalidEmail, InvalidRoles, RoleSet};
use crate::database::StoreError;
use crate::mail::requests::MailRequestError;
use crate::passwords::{InvalidHash, Overloaded, Password, PasswordHash, UnacceptablePassword};
use crate::secret::Secret;
use crate::tokens::TokenTooLong;

/// An account to be added.
#[derive(Debug)]
pub struct NewAccount {
    /// Its e-mail address as received.
    pub email: String,
    /// Its password.
    pub password: NewPassword,
    /// Its roles.
    pub roles: Vec<String>,
    /// Whether its address counts as proven.
    pub email_verified: bool,
}

/// The password of a new account.
#[derive(Debug)]
pub enum NewPassword {
    /// The password as received.
    Text(Secret<String>),
    /// Its hash by another system: Argon2 as a PHC string.
    Hash(Secret<String>),
    /// None: a mailed link lets the owner set one.
    Invite,
}

/// Why an account was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddAccountError {
    /// The address is not a valid e-mail address.
    #[error(transparent)]
    Email(#[from] InvalidEmail),
    /// The password is not acceptable.
    #[error(transparent)]
    Password(#[from] UnacceptablePassword),
    /// The hash cannot be verified.
    #[error(transparent)]
    Hash(#[from] InvalidHash),
    /// The roles are invalid.
    #[error(transparent)]
    Roles(#[from] InvalidRoles),
    /// The account's tokens would be too long.
    #[error(transparent)]
    TooLong(#[from] TokenTooLong),
    /// An account with this address exists.
    #[error("the e-mail address is taken")]
    Taken,
    /// The invitation was not mailed.
    #[error(transparent)]
    Mail(MailRequestError),
    /// The hashing queue is full.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<MailRequestError> for AddAccountError {
    fn from(error: MailRequestError) -> Self {
        Self::Mail(error)
    }
}

impl From<OperatorMailError> for AddAccountError {
    fn from(error: OperatorMailError) -> Self {
        match error {
            OperatorMailError::Request(error) => Self::Mail(error),
            // It may have been closed meanwhile, and then its address is free.
            OperatorMailError::Taken | OperatorMailError::NoSuchUser => Self::Taken,
        }
    }
}

impl Accounts {
    /// Adds an account for an operator.
    ///
    /// # Errors
    /// [`AddAccountError`]: no account was added.
    pub async fn add(
        &self,
        operator: &AccountAdmin,
        new: NewAccount,
    ) -> Result<AccountDetails, AddAccountError> {
        let email = Email::parse(&new.email)?;
        let roles = RoleSet::parse(&new.roles)?;
        operator.check_roles(&roles)?;
        let hash = match new.password {
            NewPassword::Text(text) => {
                let password =
                    Password::parse(text.expose()).map_err(UnacceptablePassword::from)?;
                self.hash_new_password::<AddAccountError>(email.as_str(), password).await?
            }
            NewPassword::Hash(phc) => PasswordHash::parse(phc.expose())?,
            NewPassword::Invite if !self.mail.is_on() => return Err(MailRequestError::Off.into()),
            NewPassword::Invite => return Ok(operator.invite(email, roles).await?.account),
        };
        let added = operator
            .add(email, hash, roles, new.email_verified)
            .await?
            .ok_or(AddAccountError::Taken)?;
        // It may have been closed meanwhile, and then its address is free.
        operator.show(added.id).await?.ok_or(AddAccountError::Taken)
    }
}
