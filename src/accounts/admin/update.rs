//! Changes of an account that depend on the state that the operator has read.

use diesel::QueryResult;

use super::grants::Grants;
use super::{
    AccountAdmin, AccountChangeError, AdminOutcome, GrantChange, LiveSessions, disable, enable,
};
use crate::accounts::queries::{self, LockedAccount};
use crate::accounts::{AccountDetails, Email};
use crate::audit::{self, Event, EventKind};
use crate::clock::Timestamp;
use crate::database::{ExpectedVersion, Id, StoreError, Tx};
use crate::sessions::{self, Session, end_session};

/// A change of an account; `None` leaves a part unchanged.
#[derive(Clone, Debug, Default)]
pub struct AccountUpdate {
    /// The e-mail address. Another one is unproven, and ends every session.
    pub email: Option<Email>,
    /// Whether the address counts as proven. A proof ends with the address only.
    pub email_verified: Option<bool>,
    /// Whether logins are rejected.
    pub disabled: Option<bool>,
    /// Roles or custom claims.
    pub grants: Option<GrantChange>,
    /// The effect on live sessions when a role or claim is taken away.
    pub live: LiveSessions,
}

/// The accounts that a list contains.
#[derive(Clone, Debug)]
pub struct AccountFilter {
    /// The account with this e-mail address.
    pub email: Option<String>,
    /// Disabled accounts, or enabled ones.
    pub disabled: Option<bool>,
    /// Accounts after this one.
    pub after: Option<Id>,
    /// The maximum number of accounts.
    pub limit: u32,
}

/// A page of accounts, ordered by id.
#[derive(Clone, Debug)]
pub struct AccountPage {
    /// The accounts.
    pub accounts: Vec<AccountDetails>,
    /// The value of [`AccountFilter::after`] for the next page; `None` on the last.
    pub next: Option<Id>,
}

impl AccountAdmin {
    /// The same administration for this operator, as the audit trail names it.
    #[must_use]
    pub fn with_actor(&self, actor: &str) -> Self {
        Self { db: self.db.clone().with_actor(actor), ..self.clone() }
    }

    /// An account that is not closed.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn show(&self, user: Id) -> Result<Option<AccountDetails>, StoreError> {
        self.db.read(move |c| queries::find_details(c, user)).await
    }

    /// Accounts that are not closed, by creation time.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn search(&self, wanted: AccountFilter) -> Result<AccountPage, StoreError> {
        let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
        let mut accounts = self.db.read(move |c| queries::search(c, &wanted)).await?;
        let is_more = accounts.len() > limit;
        accounts.truncate(limit);
        let last = accounts.last().map(|account| account.id);
        Ok(AccountPage { accounts, next: last.filter(|_| is_more) })
    }

    /// Changes an account of an expected version, and returns the changed account.
    ///
    /// # Errors
    /// [`AccountChangeError`]: nothing has changed.
    pub async fn update(
        &self,
        user: Id,
        update: AccountUpdate,
        expected: ExpectedVersion,
    ) -> Result<AccountDetails, AccountChangeError> {
        let this = self.clone();
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                // A unique key that is violated means a taken address, too.
                let mut refusal = AccountChangeError::Taken;
                let done = tx.in_savepoint(|tx| {
                    match this.update_in_tx(tx, user, &update, &expected, now)? {
                        Ok(account) => Ok(Some(account)),
                        Err(error) => {
                            refusal = error;
                            Ok(None)
                        }
                    }
                })?;
                Ok(done.ok_or(refusal))
            })
            .await?
    }

    fn update_in_tx(
        &self,
        tx: &mut Tx<'_>,
        user: Id,
        update: &AccountUpdate,
        expected: &ExpectedVersion,
        now: Timestamp,
    ) -> QueryResult<Result<AccountDetails, AccountChangeError>> {
        // First the user's row, by an UPDATE: a read would not lock it.
        let Some(locked) = queries::lock_account(tx.connection(), user)? else {
            return Ok(Err(AccountChangeError::NoSuchUser));
        };
        if !expected.allows(locked.version) {
            return Ok(Err(AccountChangeError::OtherVersion));
        }
        let changes_address =
            update.email.as_ref().is_some_and(|email| email.as_str() != locked.email);
        if update.email_verified == Some(false)
            && locked.email_verified_at.is_some()
            && !changes_address
        {
            return Ok(Err(AccountChangeError::ProofStays));
        }
        if !self.update_address(tx, user, update, &locked, now)? {
            return Ok(Err(AccountChangeError::Taken));
        }
        let mut sessions_ended = 0;
        if let Some(change) = &update.grants {
            let before = Grants::of(&locked);
            match self.change_locked_grants(tx, user, &before, change, update.live, now)? {
                Ok(changed) => sessions_ended += changed.outcome.sessions_ended,
                Err(error) => return Ok(Err(error)),
            }
        }
        match update.disabled {
            Some(true) => {
                sessions_ended += disable(&self.revocations, tx, user, now)?.sessions_ended;
            }
            Some(false) => drop(enable(tx, user, now)?),
            None => {}
        }
        self.announce(tx, sessions_ended)?;
        let account = queries::find_details(tx.connection(), user)?;
        Ok(account.ok_or(AccountChangeError::NoSuchUser))
    }

    /// Changes the address of a locked account, and whether it is proven; false when another
    /// account has the address.
    fn update_address(
        &self,
        tx: &mut Tx<'_>,
        user: Id,
        update: &AccountUpdate,
        locked: &LockedAccount,
        now: Timestamp,
    ) -> QueryResult<bool> {
        let mut was_verified = locked.email_verified_at.is_some();
        let other = update.email.as_ref().filter(|email| email.as_str() != locked.email);
        if let Some(email) = other {
            if self.set_email_in_tx(tx, user, email, now)?.is_none() {
                return Ok(false);
            }
            was_verified = false;
        }
        // Only another address is unproven.
        if update.email_verified == Some(true) && !was_verified {
            mark_verified(tx, user, now)?;
        }
        Ok(true)
    }

    /// [`AccountAdmin::delete`] for an account of an expected version.
    ///
    /// # Errors
    /// [`AccountChangeError`]: unless it is the database's, nothing has changed.
    pub async fn delete_expected(
        &self,
        user: Id,
        expected: ExpectedVersion,
    ) -> Result<AdminOutcome, AccountChangeError> {
        let this = self.clone();
        let closed = self.db.write(move |tx| {
            let now = this.clock.now();
            let Some(locked) = queries::lock_account(tx.connection(), user)? else {
                return Ok(Err(AccountChangeError::NoSuchUser));
            };
            if !expected.allows(locked.version) {
                return Ok(Err(AccountChangeError::OtherVersion));
            }
            let closed = this.close_in_tx(tx, user, now)?;
            this.announce(tx, closed.sessions_ended)?;
            Ok(Ok(closed))
        });
        let closed = closed.await??;
        Ok(self.delete_remains(user, closed).await?)
    }

    /// Ends a live session of this account; false when it has none of this id.
    ///
    /// # Errors
    /// [`StoreError`]: it has not ended.
    pub async fn end_session_of(&self, user: Id, session: Id) -> Result<bool, StoreError> {
        let ended = self.write(move |this, tx, now| {
            let is_own = sessions::owner_of(tx.connection(), session)? == Some(user);
            let changed = is_own && end_session(&this.revocations, tx, session, now)?;
            Ok(AdminOutcome { changed, sessions_ended: usize::from(changed) })
        });
        Ok(ended.await?.changed)
    }

    /// Ends every session of an account; false when the account does not exist.
    ///
    /// # Errors
    /// [`StoreError`]: no session has ended.
    pub async fn end_sessions_of_account(&self, user: Id) -> Result<bool, StoreError> {
        if self.show(user).await?.is_none() {
            return Ok(false);
        }
        self.end_sessions(user).await?;
        Ok(true)
    }

    /// The live sessions of an account; `None` when the account does not exist.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn sessions_of_account(&self, user: Id) -> Result<Option<Vec<Session>>, StoreError> {
        let now = self.clock.now();
        self.db
            .read(move |c| match queries::find_details(c, user)? {
                Some(_) => sessions::live_of(c, user, now).map(Some),
                None => Ok(None),
            })
            .await
    }
}

/// Records that an operator takes the address for proven, in the caller's unit of work.
pub(super) fn mark_verified(tx: &mut Tx<'_>, user: Id, now: Timestamp) -> QueryResult<()> {
    queries::mark_verified(tx.connection(), user, now)?;
    audit::record(tx, Event::new(EventKind::EmailVerified).with_user(user), now)
}
