//! Sign-up: a new account, unless the address is taken.

use diesel::QueryResult;

use super::queries::{self, Account, AddressProof};
use super::{Accounts, Email, InvalidEmail};
use crate::audit::{self, Event, EventKind};
use crate::clock::Timestamp;
use crate::database::{StoreError, Tx};
use crate::passwords::{Overloaded, Password, PasswordHash, UnacceptablePassword};

/// Who may sign up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationPolicy {
    /// Everybody.
    Open,
    /// Nobody: operators create accounts.
    Closed,
    /// Nobody: operators create accounts, whose owners set the first password.
    Invite,
}

/// Why a sign-up failed.
#[derive(Debug, thiserror::Error)]
pub enum SignUpError {
    /// Only operators create accounts.
    #[error("registration is closed")]
    Closed,
    /// The address is not a valid e-mail address.
    #[error(transparent)]
    Email(#[from] InvalidEmail),
    /// The password is not acceptable.
    #[error(transparent)]
    Password(#[from] UnacceptablePassword),
    /// An account with this address exists.
    #[error("the e-mail address is taken")]
    Taken,
    /// The hashing queue is full.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Creates an account for a request from `address`.
    ///
    /// # Errors
    /// [`SignUpError`]: no account was created.
    pub async fn sign_up(
        &self,
        email: &str,
        password: &str,
        address: &str,
    ) -> Result<Account, SignUpError> {
        // Before the address is read: the answer and its time say nothing about it.
        if self.registration != RegistrationPolicy::Open {
            return Err(SignUpError::Closed);
        }
        let email = Email::parse(email)?;
        let password = Password::parse(password).map_err(UnacceptablePassword::from)?;
        let hash = self.hash_new_password::<SignUpError>(email.as_str(), password).await?;
        let (clock, from) = (self.clock.clone(), address.to_owned());
        let made = self.db.write(move |tx| {
            let account = insert_account(tx, &email, &hash, None, Some(&from), clock.now())?;
            account.map_or_else(
                || Ok(Err(queries::find_id(tx.connection(), &email)?)),
                |it| Ok(Ok(it)),
            )
        });
        made.await?.map_err(|owner| {
            self.audit.record_failure(EventKind::RegistrationRefused, owner, address);
            SignUpError::Taken
        })
    }
}

/// Inserts an account in the caller's unit of work; `None` when the address is taken.
pub(super) fn insert_account(
    tx: &mut Tx<'_>,
    email: &Email,
    hash: &PasswordHash,
    proof: Option<AddressProof<'_>>,
    address: Option<&str>,
    now: Timestamp,
) -> QueryResult<Option<Account>> {
    let account = queries::insert(tx.connection(), email, hash, proof, now)?;
    if let Some(Account { id, .. }) = &account {
        let created = Event::new(EventKind::AccountCreated).with_user(*id);
        audit::record(tx, created.with_address(address), now)?;
    }
    Ok(account)
}
