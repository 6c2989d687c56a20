//! Setting a new password by a mailed link or code.

use diesel::QueryResult;

use super::mail_proof::{ConfirmError, MailSource, RequestMailError, ShownProof, notice_context};
use super::{Accounts, Email, LogInError, queries};
use crate::audit::{self, Event, EventKind};
use crate::clients::{self, ClientSettings};
use crate::clock::Timestamp;
use crate::database::{Id, Tx};
use crate::factors::login_tokens::FactorToken;
use crate::mail::decide::MailProof;
use crate::mail::messages::MessageKind;
use crate::mail::{AccountState, MailPurpose, MailRequest};
use crate::passwords::{Password, PasswordHash, UnacceptablePassword};
use crate::sessions::rotation::EndReason;
use crate::sessions::{self, AuthMethods, Device, EndCause, Grant, ReplacedSessions, Tokens};

/// A reset of a password.
#[derive(Clone, Debug)]
pub struct Reset<'a> {
    /// The link or the code.
    pub shown: ShownProof<'a>,
    /// The new password as received.
    pub password: &'a str,
    /// The session to start; `None` to only set the password.
    pub login: Option<ResetLogin>,
    /// The device data stored with the new session.
    pub device: Device,
}

/// The session that a reset starts.
#[derive(Clone, Debug)]
pub struct ResetLogin {
    /// The public client that it will belong to.
    pub client_id: String,
    /// The sessions that it replaces.
    pub replaces: ReplacedSessions,
    /// Whether the client wants its tokens as cookies.
    pub with_cookies: bool,
}

/// A genuine link or code.
#[derive(Clone, Copy)]
struct VerifiedProof {
    request: Id,
    purpose: MailPurpose,
    proof: MailProof,
}

/// The result of a reset's unit of work.
enum ResetOutcome {
    Set(Option<Box<Grant>>),
    /// The password is set, and the login needs more.
    NotLoggedIn(Box<LogInError>),
    UnknownClient(clients::UnknownClient),
}

impl Accounts {
    /// Requests a message to set a new password, and returns the request's token. Unknown addresses
    /// take the same work and get the same answer.
    ///
    /// # Errors
    /// [`RequestMailError`]: no request was made.
    pub async fn forgot_password(
        &self,
        email: &str,
        source: MailSource<'_>,
    ) -> Result<String, RequestMailError> {
        let email = Email::parse(email)?;
        self.request_mail(MailPurpose::Reset, &email, &source, None).await
    }

    /// Sets a new password, ends every session, and starts one if requested, unless the account has
    /// a second factor, or needs one. A rejected password does not use up the link or the code.
    ///
    /// # Errors
    /// [`ConfirmError`]: the old password stays valid and no session has ended, except for
    /// [`ConfirmError::NotLoggedIn`].
    pub async fn reset_password(&self, reset: Reset<'_>) -> Result<Option<Tokens>, ConfirmError> {
        let password = Password::parse(reset.password).map_err(UnacceptablePassword::from)?;
        let purpose = self.purpose_of(reset.shown);
        let (row, proof) = self.verify_proof(purpose, reset.shown).await?;
        let hash = self.hash_new_password::<ConfirmError>(&row.address, password).await?;
        let (this, login, device) = (self.clone(), reset.login.clone(), reset.device.clone());
        let verified = VerifiedProof { request: row.id, purpose, proof };
        let done = self
            .db
            .write(move |tx| this.reset_in_tx(tx, verified, &hash, login.as_ref(), &device))
            .await?;
        match done {
            Some(ResetOutcome::Set(Some(grant))) => Ok(Some(self.sessions.issue(&grant)?)),
            Some(ResetOutcome::Set(None)) => Ok(None),
            Some(ResetOutcome::NotLoggedIn(error)) => Err(ConfirmError::NotLoggedIn(*error)),
            Some(ResetOutcome::UnknownClient(unknown)) => Err(unknown.into()),
            None => Err(ConfirmError::InvalidLink),
        }
    }

    /// The purpose of a link; a code is that of a reset.
    fn purpose_of(&self, shown: ShownProof<'_>) -> MailPurpose {
        let invitation = MailPurpose::Invitation;
        match shown {
            ShownProof::Link(token) if self.mail.read_link(invitation, token).is_ok() => invitation,
            ShownProof::Link(_) | ShownProof::Code { .. } => MailPurpose::Reset,
        }
    }

    fn reset_in_tx(
        &self,
        tx: &mut Tx<'_>,
        VerifiedProof { request, purpose, proof }: VerifiedProof,
        hash: &PasswordHash,
        login: Option<&ResetLogin>,
        device: &Device,
    ) -> QueryResult<Option<ResetOutcome>> {
        let now = self.clock.now();
        let session = match login {
            Some(login) => match clients::settings_of(tx.connection(), &login.client_id)? {
                Ok(client) => Some((login, client)),
                Err(unknown) => return Ok(Some(ResetOutcome::UnknownClient(unknown))),
            },
            None => None,
        };
        let Some(row) = self.mail.find_in(tx, request)? else { return Ok(None) };
        let found = match row.user_id {
            Some(user) => queries::credentials_by_id(tx.connection(), user)?,
            None => None,
        };
        let state = found.as_ref().map_or(AccountState::Barred, |found| found.state(&row));
        let may = self.mail.may_consume(&row, purpose, proof, state, now);
        let Some(found) = found.filter(|_| may) else { return Ok(None) };
        // A mailbox replaces the password, not the second factor.
        let refused = login.and_then(|login| self.refused_login(&found, login, device, now));
        let session = session.filter(|_| refused.is_none());
        tx.in_savepoint(|tx| {
            // First the user's row, by an UPDATE: a concurrent login leaves no session behind.
            let client_id = session.as_ref().map(|(login, _)| login.client_id.as_str());
            if !queries::mail::reset_password(tx.connection(), &found, client_id, hash, now)? {
                return Ok(None);
            }
            let grant = self.restart_sessions(tx, &found, session, device, now)?;
            let is_used = self.mail.use_up(tx, &row, proof, now)?;
            let outcome = match refused {
                Some(error) => ResetOutcome::NotLoggedIn(Box::new(error)),
                None => ResetOutcome::Set(grant.map(Box::new)),
            };
            Ok(is_used.then_some(outcome))
        })
    }

    /// Why an account whose password is being reset gets no session: it has a second factor, or
    /// must have one. The latter is not set up with a mailed proof: it needs a login.
    fn refused_login(
        &self,
        found: &queries::Credentials,
        login: &ResetLogin,
        device: &Device,
        now: Timestamp,
    ) -> Option<LogInError> {
        if !found.has_factor() {
            let is_required = self.requires_factor(&found.roles);
            let error = LogInError::SecondFactorSetupRequired { enrol_token: None };
            return is_required.then_some(error);
        }
        let token = FactorToken {
            user: found.id.uuid(),
            // The one that the new password has.
            version: found.version.saturating_add(1),
            issued_at: now,
            client_id: login.client_id.clone(),
            label: device.label.clone(),
            with_cookies: login.with_cookies,
            is_unknown_source: false,
            shares: Vec::new(),
        };
        Some(self.challenge(&token, found))
    }

    /// Ends every session of an account whose password was reset, notifies its owner, and starts
    /// the requested session.
    fn restart_sessions(
        &self,
        tx: &mut Tx<'_>,
        found: &queries::Credentials,
        session: Option<(&ResetLogin, ClientSettings)>,
        device: &Device,
        now: Timestamp,
    ) -> QueryResult<Option<Grant>> {
        let address = Some(device.address.as_deref().unwrap_or_default());
        let reset = Event::new(EventKind::PasswordReset).with_user(found.id);
        audit::record(tx, reset.with_address(address), now)?;
        sessions::record_password_set(tx, found.id)?;
        let cause = EndCause { reason: EndReason::PasswordReset, address };
        self.sessions.end_all(tx, found.id, None, cause, now)?;
        // The owner of an invited account expects no notice about the first password.
        if found.invited_until.is_none() {
            let context = notice_context(device);
            self.mail.notify(tx, found.id, MessageKind::PasswordChanged, context, now)?;
        }
        let Some((login, client)) = session else { return Ok(None) };
        self.sessions.replace(tx, &login.replaces, device, now)?;
        let subject = found.subject(now, AuthMethods::PASSWORD);
        let client_id = &login.client_id;
        self.sessions.start(tx, &subject, client_id, client, device, now).map(Some)
    }
}

impl queries::Credentials {
    /// The account's state, for the rule of mail requests.
    pub(super) fn state(&self, row: &MailRequest) -> AccountState {
        if self.disabled_at.is_some() {
            AccountState::Barred
        } else if self.invited_until.is_some() {
            AccountState::Invited { has_address: row.address == self.email }
        } else {
            AccountState::Good { version: self.version }
        }
    }
}
