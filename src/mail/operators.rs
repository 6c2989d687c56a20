//! Messages that operators request: invitations and resets. They have a quota of their own, so that
//! requests of strangers do not keep them out.

use std::time::Duration;

use diesel::QueryResult;

use super::messages::MessageKind;
use super::queries::NewRow;
use super::queries::outbox::nth_latest_chosen;
use super::requests::{MailRequestError, RETRY_AFTER};
use super::triage::{LIMIT_PERIOD, MAX_FOR_OPERATORS, Quota};
use super::{Mail, MailPurpose, RETRY_FOR};
use crate::audit::{self, Event, EventKind};
use crate::clock::Timestamp;
use crate::database::{Id, Tx};

/// How long an invitation is valid.
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The account that a message of an operator goes to.
#[derive(Clone, Debug)]
pub struct MailAccount {
    /// The account.
    pub user: Id,
    /// Its address.
    pub email: String,
    /// The address's key.
    pub email_key: String,
    /// Its version.
    pub version: i64,
    /// The owner's language.
    pub locale: Option<String>,
    /// Until when it accepts its invitation, if it has no password yet.
    pub invited_until: Option<Timestamp>,
}

impl Mail {
    /// Makes the invitation of a new account in the unit of work that creates it, and returns the
    /// token of its link. While mail is off, no message is sent.
    ///
    /// # Errors
    /// The database error.
    pub fn invite(
        &self,
        tx: &mut Tx<'_>,
        to: &MailAccount,
        now: Timestamp,
    ) -> QueryResult<Result<String, MailRequestError>> {
        let outcome = (!self.is_on()).then_some("mail_off");
        let row = self.row_for(MailPurpose::Invitation, MessageKind::Invitation, to, now);
        self.send(tx, &NewRow { outcome, ..row }, now)
    }

    /// Requests a message in whose link the owner sets a password: a reset, or the invitation again
    /// for an account without a password.
    ///
    /// # Errors
    /// The database error.
    pub fn request_reset(
        &self,
        tx: &mut Tx<'_>,
        to: &MailAccount,
        now: Timestamp,
    ) -> QueryResult<Result<(), MailRequestError>> {
        if !self.is_on() {
            return Ok(Err(MailRequestError::Off));
        }
        let (key, since) = (&to.email_key, now.minus(LIMIT_PERIOD));
        // Another one is allowed when the oldest of the last three no longer counts.
        let oldest =
            nth_latest_chosen(tx.connection(), key, Quota::Operator, since, MAX_FOR_OPERATORS)?;
        if let Some(oldest) = oldest {
            let retry_after = oldest.plus(LIMIT_PERIOD).since(now);
            return Ok(Err(MailRequestError::TooMany { retry_after }));
        }
        let (purpose, message) = match to.invited_until {
            Some(_) => (MailPurpose::Invitation, MessageKind::Invitation),
            None => (MailPurpose::Reset, MessageKind::OperatorReset),
        };
        let row = self.row_for(purpose, message, to, now);
        let row = NewRow { quota: Some(Quota::Operator), ..row };
        Ok(self.send(tx, &row, now)?.map(drop))
    }

    /// Inserts a row and records its event. Returns the token of its link.
    fn send(
        &self,
        tx: &mut Tx<'_>,
        row: &NewRow,
        now: Timestamp,
    ) -> QueryResult<Result<String, MailRequestError>> {
        if !self.enqueue(tx, row)? {
            return Ok(Err(MailRequestError::Full { retry_after: RETRY_AFTER }));
        }
        if let (Some(message), Some(user)) = (row.message, row.user_id) {
            let requested = Event::new(EventKind::MailRequested).with_detail(message.as_str());
            audit::record(tx, requested.with_user(user), now)?;
        }
        Ok(Ok(self.keys.link_token(row.purpose, row.id)))
    }

    fn row_for(
        &self,
        purpose: MailPurpose,
        message: MessageKind,
        to: &MailAccount,
        now: Timestamp,
    ) -> NewRow {
        let kept_for_retries = self.expiry(now.plus(RETRY_FOR));
        NewRow {
            id: Id::new(now),
            purpose,
            message: Some(message),
            outcome: None,
            quota: None,
            user_id: Some(to.user),
            address: to.email.clone(),
            address_key: to.email_key.clone(),
            network: None,
            device: None,
            password_hash: None,
            credentials_version: Some(to.version),
            detail: None,
            locale: to.locale.clone(),
            created_at: now,
            expires_at: to.invited_until.unwrap_or(kept_for_retries),
        }
    }
}
