//! The common parts of operations that a mailbox proves: requesting mail, verifying a link or a
//! code, and finding the account of a message.

use std::sync::Arc;

use diesel::QueryResult;

use crate::clients::UnknownClient;
use crate::clock::Timestamp;
use crate::database::{AnyConnection, StoreError, Tx};
use crate::mail::codes::ForgedToken;
use crate::mail::decide::MailProof;
use crate::mail::messages::MessageKind;
use crate::mail::notices::NoticeContext;
use crate::mail::requests::{MailRequestError, NewMailRequest};
use crate::mail::sender::{AccountDirectory, Recipient};
use crate::mail::{Mail, MailPurpose, MailRequest};
use crate::passwords::{Overloaded, PasswordHash, UnacceptablePassword};
use crate::refresh_token::RefreshToken;
use crate::secret::Secret;
use crate::sessions::{ClockSkewed, Device, IssueError, Sessions};

use super::queries::Credentials;
use super::{Accounts, Email, InvalidEmail, LogInError, queries};

/// The source of a request for mail.
#[derive(Clone, Debug)]
pub struct MailSource<'a> {
    /// The client's network.
    pub network: &'a str,
    /// A refresh token of an earlier session on this device, even if it is already rotated or
    /// expired.
    pub known_device: Option<RefreshToken>,
    /// The client's language.
    pub locale: Option<String>,
}

/// Why mail was not requested.
#[derive(Debug, thiserror::Error)]
pub enum RequestMailError {
    /// Only operators create accounts.
    #[error("registration is closed")]
    Closed,
    /// The address is not a valid e-mail address.
    #[error(transparent)]
    Email(#[from] InvalidEmail),
    /// The password is not acceptable.
    #[error(transparent)]
    Password(#[from] UnacceptablePassword),
    /// The hashing queue is full.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The current password was not accepted.
    #[error(transparent)]
    CurrentPassword(#[from] LogInError),
    /// The request was rejected.
    #[error(transparent)]
    Request(#[from] MailRequestError),
    /// The clock of this node is wrong.
    #[error(transparent)]
    Clock(#[from] ClockSkewed),
}

impl From<StoreError> for RequestMailError {
    fn from(error: StoreError) -> Self {
        Self::Request(error.into())
    }
}

/// The evidence that a request contains.
#[derive(Clone, Copy, Debug)]
pub enum ShownProof<'a> {
    /// The token of a link.
    Link(&'a str),
    /// The token that was answered to the request, and the code from the message.
    Code {
        /// The token of the request.
        request: &'a str,
        /// The code as typed.
        code: &'a str,
    },
}

/// Why a link or a code was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// It is wrong, used, expired or unknown; the answer does not say which.
    #[error("the link or code is wrong, or is no longer valid")]
    InvalidLink,
    /// The password is set, and the login needs more than the mailbox.
    #[error(transparent)]
    NotLoggedIn(LogInError),
    /// Mail is off.
    #[error("mail is off")]
    Off,
    /// Only operators create accounts.
    #[error("registration is closed")]
    Closed,
    /// The new password is not acceptable.
    #[error(transparent)]
    Password(#[from] UnacceptablePassword),
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

impl From<StoreError> for ConfirmError {
    fn from(error: StoreError) -> Self {
        Self::Issue(error.into())
    }
}

impl From<ForgedToken> for ConfirmError {
    fn from(_: ForgedToken) -> Self {
        Self::InvalidLink
    }
}

impl Accounts {
    /// Mail requests and messages.
    #[must_use]
    pub const fn mail(&self) -> &Mail {
        &self.mail
    }

    /// Requests a message to an address, without looking for an account. A node with a wrong clock
    /// makes no request: its expiry would be wrong, too.
    pub(super) async fn request_mail(
        &self,
        purpose: MailPurpose,
        email: &Email,
        source: &MailSource<'_>,
        password_hash: Option<PasswordHash>,
    ) -> Result<String, RequestMailError> {
        self.sessions.ensure_clock()?;
        let new = NewMailRequest {
            purpose,
            address: email.to_string(),
            address_key: email.key(),
            network: source.network.to_owned(),
            device: source.known_device.as_ref().map(|token| token.session.into()),
            account: None,
            password_hash: password_hash.map(|hash| Secret::new(hash.as_str().to_owned())),
            locale: source.locale.clone(),
        };
        Ok(self.mail.request(new).await?)
    }

    /// Verifies a link or a code and returns its request, which is not used by this. A wrong code
    /// is counted.
    pub(super) async fn verify_proof(
        &self,
        purpose: MailPurpose,
        shown: ShownProof<'_>,
    ) -> Result<(MailRequest, MailProof), ConfirmError> {
        // An operator can hand over the link of an invitation.
        if !self.mail.is_on() && purpose != MailPurpose::Invitation {
            return Err(ConfirmError::Off);
        }
        // The clock decides whether the link or the code has expired.
        self.sessions.ensure_clock().map_err(IssueError::from)?;
        let (row, proof) = match shown {
            ShownProof::Link(token) => {
                let id = self.mail.read_link(purpose, token)?;
                (self.mail.find(id).await?, MailProof::Link)
            }
            ShownProof::Code { request, code } => {
                let id = self.mail.read_request(purpose, request)?;
                (self.mail.try_code(purpose, id, code.to_owned()).await?, MailProof::RightCode)
            }
        };
        row.map(|row| (row, proof)).ok_or(ConfirmError::InvalidLink)
    }

    /// Notifies the owner of an account about a login from an unknown device and network, unless it
    /// is the first login. Sessions do not tell: expired ones are deleted.
    pub(super) fn notify_of_new_device(
        &self,
        tx: &mut Tx<'_>,
        user: &Credentials,
        device: &Device,
        now: Timestamp,
    ) -> QueryResult<()> {
        if user.last_login_at.is_none() {
            return Ok(());
        }
        self.mail.notify(tx, user.id, MessageKind::NewDevice, notice_context(device), now)
    }
}

/// The lookup of the account of an address, and whether the source of the request is known to it.
#[must_use]
pub fn directory(sessions: Sessions) -> AccountDirectory {
    Arc::new(move |connection: &mut AnyConnection, row: &MailRequest| {
        let found = queries::mail::recipient(connection, &Email::keys_of(&row.address))?;
        let Some((user, email, version, locale, invited_until, disabled_at)) = found else {
            return Ok(None);
        };
        let network = row.network.as_deref().unwrap_or_default();
        let is_known = sessions.is_known_source(connection, user, row.device, network)?;
        let is_disabled = disabled_at.is_some();
        Ok(Some(Recipient { user, email, version, locale, invited_until, is_disabled, is_known }))
    })
}

/// The source of a request as a notice states it.
pub(super) fn notice_context(device: &Device) -> NoticeContext<'_> {
    NoticeContext {
        network: device.address.as_deref(),
        user_agent: device.user_agent.as_deref(),
        codes_left: None,
    }
}

/// Raises the version of every account, in the unit of work that makes a restored backup safe.
///
/// # Errors
/// The database error.
pub fn raise_every_version(tx: &mut Tx<'_>) -> QueryResult<usize> {
    queries::mail::raise_every_version(tx.connection())
}
