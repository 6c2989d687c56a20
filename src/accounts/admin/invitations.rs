//! Invitations: accounts that an operator creates without a password, and messages in whose link
//! the owner sets one.

use diesel::QueryResult;

use super::{AccountAdmin, grants};
use crate::accounts::sign_up::insert_account;
use crate::accounts::{AccountDetails, Email, RoleSet, queries};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError, Tx};
use crate::mail::Mail;
use crate::mail::operators::{INVITATION_LIFETIME, MailAccount};
use crate::mail::requests::MailRequestError;
use crate::passwords::PasswordHash;

/// Accounts that one unit of work of a purge closes.
const PURGE_BATCH: i64 = 50;

/// An account that was created without a password.
#[derive(Debug)]
pub struct Invitation {
    /// The account.
    pub account: AccountDetails,
    /// The token of its link.
    pub token: String,
}

/// Why an operator's message was not requested.
#[derive(Debug, thiserror::Error)]
pub enum OperatorMailError {
    /// No enabled account has this id.
    #[error("the account does not exist, or is disabled")]
    NoSuchUser,
    /// An account with this address exists.
    #[error("the e-mail address is taken")]
    Taken,
    /// The request was rejected.
    #[error(transparent)]
    Request(#[from] MailRequestError),
}

impl From<StoreError> for OperatorMailError {
    fn from(error: StoreError) -> Self {
        Self::Request(error.into())
    }
}

impl AccountAdmin {
    /// Creates an account without a password, and mails the link by which its owner sets one. While
    /// mail is off, the link is only returned.
    ///
    /// # Errors
    /// [`OperatorMailError`]: no account was created.
    pub async fn invite(
        &self,
        email: Email,
        roles: RoleSet,
    ) -> Result<Invitation, OperatorMailError> {
        let mail = self.mail()?;
        let this = self.clone();
        let made = self.db.write(move |tx| {
            let now = this.clock.now();
            let mut refusal = OperatorMailError::Taken;
            let made =
                tx.in_savepoint(|tx| match invite_in_tx(tx, &mail, &email, &roles, now)? {
                    Ok(invitation) => Ok(Some(invitation)),
                    Err(error) => {
                        refusal = error;
                        Ok(None)
                    }
                })?;
            Ok(made.ok_or(refusal))
        });
        made.await?
    }

    /// Mails a link by which the owner sets a new password; to an account without one, the
    /// invitation again. Operators cause at most three such messages an hour.
    ///
    /// # Errors
    /// [`OperatorMailError`]: no message was requested.
    pub async fn mail_reset(&self, user: Id) -> Result<(), OperatorMailError> {
        let mail = self.mail()?;
        let this = self.clone();
        let requested = self.db.write(move |tx| {
            let now = this.clock.now();
            let account = queries::lock_mail_account(tx.connection(), user)?;
            let is_open = |account: &MailAccount| account.invited_until.is_none_or(|it| now < it);
            match account.filter(is_open) {
                Some(account) => mail.request_reset(tx, &account, now).map(|done| Ok(done?)),
                None => Ok(Err(OperatorMailError::NoSuchUser)),
            }
        });
        requested.await?
    }

    fn mail(&self) -> Result<Mail, MailRequestError> {
        self.mail.clone().ok_or(MailRequestError::Off)
    }

    /// Closes a batch of accounts whose invitation has expired at `now`. Returns whether there may
    /// be more.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn close_expired_invitations(&self, now: Timestamp) -> Result<bool, StoreError> {
        let expired =
            self.db.read(move |c| queries::expired_invitations(c, now, PURGE_BATCH)).await?;
        if expired.is_empty() {
            return Ok(false);
        }
        let this = self.clone();
        self.db
            .write(move |tx| {
                for user in &expired {
                    if queries::lock_expired_invitation(tx.connection(), *user, now)? {
                        this.close_in_tx(tx, *user, now)?;
                    }
                }
                Ok(())
            })
            .await?;
        Ok(true)
    }
}

fn invite_in_tx(
    tx: &mut Tx<'_>,
    mail: &Mail,
    email: &Email,
    roles: &RoleSet,
    now: Timestamp,
) -> QueryResult<Result<Invitation, OperatorMailError>> {
    let no_password = PasswordHash::from_stored(String::new());
    let Some(made) = insert_account(tx, email, &no_password, None, None, now)? else {
        return Ok(Err(OperatorMailError::Taken));
    };
    queries::mark_invited(tx.connection(), made.id, now.plus(INVITATION_LIFETIME))?;
    grants::grant_first_roles(tx, made.id, roles, now)?;
    let Some(account) = queries::lock_mail_account(tx.connection(), made.id)? else {
        return Ok(Err(OperatorMailError::NoSuchUser));
    };
    let token = match mail.invite(tx, &account, now)? {
        Ok(token) => token,
        Err(error) => return Ok(Err(error.into())),
    };
    let account = queries::find_details(tx.connection(), made.id)?;
    Ok(account.map(|account| Invitation { account, token }).ok_or(OperatorMailError::NoSuchUser))
}
