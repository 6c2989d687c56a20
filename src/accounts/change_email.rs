//! Changing the address of an account, or proving the present one. A code proves the new address;
//! the logged-in owner types it.

use diesel::QueryResult;

use super::mail_proof::{ConfirmError, RequestMailError, ShownProof};
use super::owner_proof::{FactorRule, OwnerProof, ProvenOwner};
use super::{Accounts, Email, queries};
use crate::audit::{self, Event, EventKind};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError, Tx};
use crate::mail::decide::MailProof;
use crate::mail::messages::MessageKind;
use crate::mail::notices::{self, NoticeContext};
use crate::mail::requests::{MailRequestError, NewMailRequest};
use crate::mail::{AccountState, MailPurpose, MailRequest};
use crate::sessions::authenticate::AuthenticatedSession;
use crate::sessions::rotation::EndReason;
use crate::sessions::{Device, EndCause};

impl Accounts {
    /// Requests the code that makes `email` the account's address, and returns the request's token.
    /// The answer does not tell whether another account has the address.
    ///
    /// # Errors
    /// [`RequestMailError`]: no request was made.
    pub async fn request_email_change(
        &self,
        access: AuthenticatedSession,
        email: &str,
        proof: &OwnerProof,
        locale: Option<String>,
    ) -> Result<String, RequestMailError> {
        if !self.mail.is_on() {
            return Err(MailRequestError::Off.into());
        }
        let email = Email::parse(email)?;
        let request = async |proven: ProvenOwner| {
            let new = NewMailRequest {
                purpose: MailPurpose::EmailChange,
                address: email.to_string(),
                address_key: email.key(),
                network: proof.network().to_owned(),
                device: None,
                account: Some((proven.found.id, proven.found.version)),
                password_hash: None,
                locale: locale.clone(),
            };
            let requested = self.request_if_unchanged(new, proven, proof.device.clone()).await?;
            Ok::<_, RequestMailError>(requested.transpose()?)
        };
        self.with_proof(access.into(), proof, FactorRule::Required, request).await
    }

    /// Makes a request of an account; `None` when the account has changed since it was read.
    async fn request_if_unchanged(
        &self,
        new: NewMailRequest,
        proven: ProvenOwner,
        device: Device,
    ) -> Result<Option<Result<String, MailRequestError>>, StoreError> {
        let this = self.clone();
        let requested = self.db.write(move |tx| {
            let Some((user, version)) = new.account else { return Ok(None) };
            let found = queries::credentials_by_id(tx.connection(), user)?;
            if found.is_none_or(|found| found.version != version) {
                return Ok(None);
            }
            let now = this.clock.now();
            let mut refused = None;
            let requested = tx.in_savepoint(|tx| {
                if !proven.use_factor(&this, tx, &device, now)? {
                    return Ok(None);
                }
                // A request that is refused uses up no code.
                match this.mail.insert(tx, &new, now)? {
                    Ok(requested) => Ok(Some(Ok(requested))),
                    Err(error) => {
                        refused = Some(Err(error));
                        Ok(None)
                    }
                }
            })?;
            Ok(requested.or(refused))
        });
        requested.await
    }

    /// Sets the address that the code proves. Sessions of other devices end, and the old address is
    /// notified.
    ///
    /// # Errors
    /// [`ConfirmError`]: the address has not changed.
    pub async fn confirm_email(
        &self,
        access: AuthenticatedSession,
        request: &str,
        code: &str,
        network: &str,
    ) -> Result<(), ConfirmError> {
        let shown = ShownProof::Code { request, code };
        let (row, proof) = self.verify_proof(MailPurpose::EmailChange, shown).await?;
        if row.user_id != Some(access.user) {
            return Err(ConfirmError::InvalidLink);
        }
        let (this, network) = (self.clone(), network.to_owned());
        let done = self
            .db
            .write(move |tx| this.change_email_in_tx(tx, access, row.id, proof, &network))
            .await?;
        done.ok_or(ConfirmError::InvalidLink)
    }

    fn change_email_in_tx(
        &self,
        tx: &mut Tx<'_>,
        access: AuthenticatedSession,
        request: Id,
        proof: MailProof,
        network: &str,
    ) -> QueryResult<Option<()>> {
        let now = self.clock.now();
        let Some(row) = self.mail.find_in(tx, request)? else { return Ok(None) };
        let found = queries::credentials_by_id(tx.connection(), access.user)?;
        let state = found.as_ref().map_or(AccountState::Barred, |found| found.state(&row));
        let may = self.mail.may_consume(&row, MailPurpose::EmailChange, proof, state, now);
        let (Some(found), Ok(email)) = (found.filter(|_| may), Email::parse(&row.address)) else {
            return Ok(None);
        };
        let old_recipient = notices::notice_recipient(tx.connection(), access.user)?;
        tx.in_savepoint(|tx| {
            // The unique key fails for an address that another account has.
            if !queries::mail::set_address(
                tx.connection(),
                &found,
                &email,
                row.locale.as_deref(),
                now,
            )? {
                return Ok(None);
            }
            if Email::key_of(&found.email) == email.key() {
                let verified = Event::new(EventKind::EmailVerified).with_user(found.id);
                audit::record(tx, verified.with_address(Some(network)), now)?;
            } else {
                self.end_other_sessions(tx, access, network, now)?;
                if let Some(recipient) = &old_recipient {
                    let context =
                        NoticeContext { network: Some(network), ..NoticeContext::default() };
                    self.mail.notify_at(tx, recipient, MessageKind::EmailChanged, context, now)?;
                }
            }
            self.end_request(tx, &row, proof, now)
        })
    }

    fn end_other_sessions(
        &self,
        tx: &mut Tx<'_>,
        access: AuthenticatedSession,
        network: &str,
        now: Timestamp,
    ) -> QueryResult<()> {
        let changed = Event::new(EventKind::EmailChanged).with_user(access.user);
        audit::record(tx, changed.with_address(Some(network)), now)?;
        let cause = EndCause { reason: EndReason::EmailChanged, address: Some(network) };
        self.sessions.end_all(tx, access.user, Some(access.session), cause, now)
    }

    fn end_request(
        &self,
        tx: &mut Tx<'_>,
        row: &MailRequest,
        proof: MailProof,
        now: Timestamp,
    ) -> QueryResult<Option<()>> {
        Ok(self.mail.use_up(tx, row, proof, now)?.then_some(()))
    }
}
