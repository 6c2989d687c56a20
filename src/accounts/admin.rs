//! What whoever runs the service does to accounts: add, look at, disable, enable and delete them,
//! end their sessions, and set another password.
//!
//! It works on the database, also while servers run: they hear of what is revoked as they hear of
//! what another node revokes.

use diesel::QueryResult;

use super::{Account, AccountDetails, Email, insert_account, queries};
use crate::audit::{self, Event, EventKind};
use crate::clock::{Clock, Timestamp};
use crate::database::{Database, Id, StoreError, Tx};
use crate::passwords::PasswordHash;
use crate::revocations::Revocations;
use crate::revocations::sync::SyncMode;
use crate::sessions::rotation::EndReason;
use crate::sessions::{self, Session, end_session, end_sessions_of};

/// The accounts as an operator has them.
#[derive(Clone)]
pub struct AccountAdmin {
    db: Database,
    clock: Clock,
    revocations: Revocations,
    sync_mode: SyncMode,
}

/// What was done to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminOutcome {
    /// Whether the account is another now; false when it was so before.
    pub changed: bool,
    /// Sessions that ended.
    pub sessions_ended: usize,
}

impl AccountAdmin {
    /// Puts the parts together.
    #[must_use]
    pub const fn new(
        db: Database,
        clock: Clock,
        revocations: Revocations,
        sync_mode: SyncMode,
    ) -> Self {
        Self { db, clock, revocations, sync_mode }
    }

    /// Up to `limit` accounts that are not closed, in the order in which they were made, from the
    /// one after `after` on.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list(
        &self,
        after: Option<Id>,
        limit: u32,
    ) -> Result<Vec<AccountDetails>, StoreError> {
        self.db.read(move |c| queries::list_details(c, after, limit)).await
    }

    /// The account of this id or e-mail address.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find(&self, name: &str) -> Result<Option<AccountDetails>, StoreError> {
        let (id, key) = (Id::parse(name), Email::key_of(name));
        self.db
            .read(move |c| match id {
                Some(id) => queries::find_details(c, id),
                None => queries::find_details_by_email_key(c, &key),
            })
            .await
    }

    /// How many live sessions an account has.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn sessions_of(&self, user: Id) -> Result<i64, StoreError> {
        let now = self.clock.now();
        self.db.read(move |c| sessions::count_of(c, user, now)).await
    }

    /// Disables an account: its sessions end and nobody logs in.
    ///
    /// # Errors
    /// [`StoreError`]: nothing has changed.
    pub async fn disable(&self, user: Id) -> Result<AdminOutcome, StoreError> {
        self.write(move |this, tx, now| disable(&this.revocations, tx, user, now)).await
    }

    /// Lets an account log in again. What ended with its being disabled stays ended.
    ///
    /// # Errors
    /// [`StoreError`]: nothing has changed.
    pub async fn enable(&self, user: Id) -> Result<AdminOutcome, StoreError> {
        self.write(move |_, tx, now| {
            let changed = queries::enable(tx.connection(), user)?;
            if changed {
                audit::record(tx, Event::new(EventKind::AccountEnabled).with_user(user), now)?;
            }
            Ok(AdminOutcome { changed, sessions_ended: 0 })
        })
        .await
    }

    /// Makes an account; nothing when the address is taken.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was made.
    pub async fn add(
        &self,
        email: Email,
        hash: PasswordHash,
    ) -> Result<Option<Account>, StoreError> {
        let clock = self.clock.clone();
        self.db.write(move |tx| insert_account(tx, &email, &hash, None, clock.now())).await
    }

    /// The live sessions of an account, the one used last first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_sessions(&self, user: Id) -> Result<Vec<Session>, StoreError> {
        let now = self.clock.now();
        self.db.read(move |c| sessions::live_of(c, user, now)).await
    }

    /// Ends one session of whomever, and its tokens.
    ///
    /// # Errors
    /// [`StoreError`]: it has not ended.
    pub async fn end_session(&self, session: Id) -> Result<AdminOutcome, StoreError> {
        self.write(move |this, tx, now| {
            let changed = end_session(&this.revocations, tx, session, now)?;
            Ok(AdminOutcome { changed, sessions_ended: usize::from(changed) })
        })
        .await
    }

    /// Deletes an account, or what is left of one that is closed. First it is closed, with which its
    /// sessions and tokens end; then the rows go, some at a time. When that is cut short, another
    /// call by the account's id goes on, and the service does in the end.
    ///
    /// # Errors
    /// [`StoreError`] when not all of it could be stored.
    pub async fn delete(&self, user: Id) -> Result<AdminOutcome, StoreError> {
        let closed = self
            .write(move |this, tx, now| {
                let changed = queries::close_any_version(tx.connection(), user, now)?;
                let mut sessions_ended = 0;
                if changed {
                    audit::record(tx, Event::new(EventKind::AccountDeleted).with_user(user), now)?;
                    let reason = EndReason::AccountClosed;
                    sessions_ended = end_sessions_of(&this.revocations, tx, user, reason, now)?;
                    audit::erase_addresses(tx, user)?;
                }
                Ok(AdminOutcome { changed, sessions_ended })
            })
            .await?;
        while self.db.write(move |tx| sessions::delete_batch_of(tx, user)).await? {}
        let clock = self.clock.clone();
        let deleted = self.db.write(move |tx| {
            let deleted = queries::delete(tx.connection(), user)?;
            if deleted && !closed.changed {
                audit::record(
                    tx,
                    Event::new(EventKind::AccountDeleted).with_user(user),
                    clock.now(),
                )?;
            }
            Ok(deleted)
        });
        let changed = deleted.await? || closed.changed;
        Ok(AdminOutcome { changed, ..closed })
    }

    /// Ends every session of an account.
    ///
    /// # Errors
    /// [`StoreError`]: none has ended.
    pub async fn end_sessions(&self, user: Id) -> Result<AdminOutcome, StoreError> {
        self.write(move |this, tx, now| {
            let ended = end_sessions_of(&this.revocations, tx, user, EndReason::EndedByUser, now)?;
            Ok(AdminOutcome { changed: ended > 0, sessions_ended: ended })
        })
        .await
    }

    /// Sets another password, and ends every session. A disabled account stays disabled.
    ///
    /// # Errors
    /// [`StoreError`]: the old password holds.
    pub async fn set_password(
        &self,
        user: Id,
        hash: PasswordHash,
    ) -> Result<AdminOutcome, StoreError> {
        self.write(move |this, tx, now| {
            let changed = queries::replace_password(tx.connection(), user, &hash, now)?;
            let mut sessions_ended = 0;
            if changed {
                audit::record(tx, Event::new(EventKind::PasswordChanged).with_user(user), now)?;
                sessions::record_password_set(tx, user)?;
                let reason = EndReason::PasswordChanged;
                sessions_ended = end_sessions_of(&this.revocations, tx, user, reason, now)?;
            }
            Ok(AdminOutcome { changed, sessions_ended })
        })
        .await
    }

    /// One unit of work, after which other nodes are told at once.
    async fn write(
        &self,
        mut work: impl FnMut(&Self, &mut Tx<'_>, Timestamp) -> QueryResult<AdminOutcome>
        + Send
        + 'static,
    ) -> Result<AdminOutcome, StoreError> {
        let this = self.clone();
        self.db
            .write(move |tx| {
                let done = work(&this, tx, this.clock.now())?;
                if done.sessions_ended > 0 && this.sync_mode == SyncMode::Listen {
                    this.revocations.announce(tx)?;
                }
                Ok(done)
            })
            .await
    }
}

/// Disables an account in the caller's unit of work: first the user's row, then the sessions, so
/// that a login under way leaves none behind.
///
/// # Errors
/// Whatever the database says.
pub(super) fn disable(
    revocations: &Revocations,
    tx: &mut Tx<'_>,
    user: Id,
    now: Timestamp,
) -> QueryResult<AdminOutcome> {
    let changed = queries::disable(tx.connection(), user, now)?;
    let mut sessions_ended = 0;
    if changed {
        audit::record(tx, Event::new(EventKind::AccountDisabled).with_user(user), now)?;
        sessions_ended = end_sessions_of(revocations, tx, user, EndReason::AccountDisabled, now)?;
    }
    Ok(AdminOutcome { changed, sessions_ended })
}
