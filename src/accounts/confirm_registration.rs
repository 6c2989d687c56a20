//! Registration with a proof of the address: the account is created when the code is confirmed.
//!
//! Each registration is a request with a password hash of its own. Only the client that registered
//! has the request's token, and only the mailbox has the code, so a stranger who registers the same
//! address gains nothing.

use diesel::QueryResult;

use super::mail_proof::{ConfirmError, MailSource, RequestMailError, ShownProof};
use super::queries::AddressProof;
use super::sign_up::insert_account;
use super::{Account, Accounts, Email, RegistrationPolicy};
use crate::audit::{self, Event, EventKind};
use crate::database::{Id, Tx};
use crate::mail::decide::MailProof;
use crate::mail::{AccountState, MailPurpose};
use crate::passwords::{Password, PasswordHash, UnacceptablePassword};

impl Accounts {
    /// Requests an account with this address and password, and returns the request's token.
    ///
    /// # Errors
    /// [`RequestMailError`]: no request was made.
    pub async fn request_registration(
        &self,
        email: &str,
        password: &str,
        source: MailSource<'_>,
    ) -> Result<String, RequestMailError> {
        // Before the address is read: the answer and its time say nothing about it.
        if self.registration != RegistrationPolicy::Open {
            return Err(RequestMailError::Closed);
        }
        let email = Email::parse(email)?;
        let password = Password::parse(password).map_err(UnacceptablePassword::from)?;
        let hash = self.hash_new_password::<RequestMailError>(email.as_str(), password).await?;
        self.request_mail(MailPurpose::Registration, &email, &source, Some(hash)).await
    }

    /// Creates the account whose address the code proves, for a client at `address`.
    ///
    /// # Errors
    /// [`ConfirmError`]: no account was created.
    pub async fn confirm_registration(
        &self,
        request: &str,
        code: &str,
        address: &str,
    ) -> Result<Account, ConfirmError> {
        if self.registration != RegistrationPolicy::Open {
            return Err(ConfirmError::Closed);
        }
        let shown = ShownProof::Code { request, code };
        let (row, proof) = self.verify_proof(MailPurpose::Registration, shown).await?;
        let (this, address) = (self.clone(), address.to_owned());
        let made = self.db.write(move |tx| this.register_in_tx(tx, row.id, proof, &address));
        made.await?.ok_or(ConfirmError::InvalidLink)
    }

    fn register_in_tx(
        &self,
        tx: &mut Tx<'_>,
        request: Id,
        proof: MailProof,
        address: &str,
    ) -> QueryResult<Option<Account>> {
        let now = self.clock.now();
        let Some(row) = self.mail.find_in(tx, request)? else { return Ok(None) };
        // The insert fails if the address is taken.
        let (wanted, free) = (MailPurpose::Registration, AccountState::None);
        let may = self.mail.may_consume(&row, wanted, proof, free, now);
        let (Ok(email), Some(hash), true) = (Email::parse(&row.address), &row.password_hash, may)
        else {
            return Ok(None);
        };
        let hash = PasswordHash::from_stored(hash.expose().clone());
        let proven = Some(AddressProof { locale: row.locale.as_deref() });
        tx.in_savepoint(|tx| {
            let Some(account) = insert_account(tx, &email, &hash, proven, Some(address), now)?
            else {
                return Ok(None);
            };
            let verified = Event::new(EventKind::EmailVerified).with_user(account.id);
            audit::record(tx, verified.with_address(Some(address)), now)?;
            let is_used = self.mail.use_up(tx, &row, proof, now)?;
            Ok(is_used.then_some(account))
        })
    }
}
