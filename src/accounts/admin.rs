//! Account administration for operators: add, list, show, disable, enable and delete accounts, end
//! their sessions and set passwords.
//!
//! It writes to the database directly, also while servers run; they sync its revocations like those
//! of another node.

mod factors;
mod grants;
mod invitations;
mod json;
mod update;

use diesel::QueryResult;

use super::close::erase_traces;
use super::sign_up::insert_account;
use super::{Account, AccountDetails, Email, RoleSet, queries};
use crate::audit::{self, Event, EventKind};
use crate::clock::{Clock, Timestamp};
use crate::database::{Database, Id, StoreError, Tx};
use crate::mail::messages::MessageKind;
use crate::mail::notices::{self, NoticeContext};
use crate::mail::{self, Mail};
use crate::passwords::PasswordHash;
use crate::revocations::Revocations;
use crate::sessions::rotation::EndReason;
use crate::sessions::{self, Session, end_session, end_sessions_of};
use crate::tokens::TokenSizeLimit;

pub use grants::{AccountChangeError, GrantChange, GrantOutcome, LiveSessions, OversizedTokens};
pub use invitations::{Invitation, OperatorMailError};
pub use update::{AccountFilter, AccountPage, AccountUpdate};

/// Account administration.
#[derive(Clone)]
pub struct AccountAdmin {
    db: Database,
    clock: Clock,
    revocations: Revocations,
    announcement: Announcement,
    /// Enqueues notices to owners.
    mail: Option<Mail>,
    size_limit: TokenSizeLimit,
}

/// How other nodes learn of the sessions that an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// This process notifies them when the operation commits.
    AtCommit,
    /// They learn by the sync: this process is a node, whose sync notifies them, or they poll.
    BySync,
}

/// The result of an administrative operation on an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminOutcome {
    /// Whether the account was changed; false when it already was in that state.
    pub changed: bool,
    /// Sessions that ended.
    pub sessions_ended: usize,
}

impl AccountAdmin {
    /// Creates the service from its dependencies.
    #[must_use]
    pub const fn new(
        db: Database,
        clock: Clock,
        revocations: Revocations,
        announcement: Announcement,
        size_limit: TokenSizeLimit,
    ) -> Self {
        Self { db, clock, revocations, announcement, mail: None, size_limit }
    }

    /// Notifies owners of changes of their accounts.
    #[must_use]
    pub fn with_mail(self, mail: Mail) -> Self {
        Self { mail: Some(mail), ..self }
    }

    /// The account of this id or e-mail address.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find(&self, name: &str) -> Result<Option<AccountDetails>, StoreError> {
        let (id, keys) = (Id::parse(name), Email::keys_of(name));
        self.db
            .read(move |c| match id {
                Some(id) => queries::find_details(c, id),
                None => queries::find_details_by_email_keys(c, &keys),
            })
            .await
    }

    /// The number of an account's live sessions.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn sessions_of(&self, user: Id) -> Result<i64, StoreError> {
        let now = self.clock.now();
        self.db.read(move |c| sessions::count_of(c, user, now)).await
    }

    /// Disables an account: its sessions end and logins are rejected.
    ///
    /// # Errors
    /// [`StoreError`]: nothing has changed.
    pub async fn disable(&self, user: Id) -> Result<AdminOutcome, StoreError> {
        self.write(move |this, tx, now| disable(&this.revocations, tx, user, now)).await
    }

    /// Lets an account log in again. Sessions that ended when it was disabled stay ended.
    ///
    /// # Errors
    /// [`StoreError`]: nothing has changed.
    pub async fn enable(&self, user: Id) -> Result<AdminOutcome, StoreError> {
        self.write(move |_, tx, now| {
            Ok(AdminOutcome { changed: enable(tx, user, now)?, sessions_ended: 0 })
        })
        .await
    }

    /// Creates an account with these roles, and an address that counts as proven or not; `None`
    /// when the address is taken.
    ///
    /// # Errors
    /// [`StoreError`]: no account was created.
    pub async fn add(
        &self,
        email: Email,
        hash: PasswordHash,
        roles: RoleSet,
        is_verified: bool,
    ) -> Result<Option<Account>, StoreError> {
        let this = self.clone();
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                let account = insert_account(tx, &email, &hash, None, None, now)?;
                let Some(account) = account else { return Ok(None) };
                grants::grant_first_roles(tx, account.id, &roles, now)?;
                if is_verified {
                    update::mark_verified(tx, account.id, now)?;
                }
                let roles = roles.to_vec();
                Ok(Some(Account { roles, email_verified: is_verified, ..account }))
            })
            .await
    }

    /// The live sessions of an account, the most recently used first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_sessions(&self, user: Id) -> Result<Vec<Session>, StoreError> {
        let now = self.clock.now();
        self.db.read(move |c| sessions::live_of(c, user, now)).await
    }

    /// Ends any session by id and revokes its tokens.
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

    /// Deletes an account, whether it is open or closed. An open one is closed first, which ends
    /// its sessions and revokes its tokens; then its rows are deleted in batches. After an
    /// interruption, another call with the account's id continues; otherwise the service's purge
    /// deletes the rest.
    ///
    /// # Errors
    /// [`StoreError`] when not all of it was deleted.
    pub async fn delete(&self, user: Id) -> Result<AdminOutcome, StoreError> {
        let closed = self.write(move |this, tx, now| this.close_in_tx(tx, user, now)).await?;
        self.delete_remains(user, closed).await
    }

    /// Closes an account, which erases it, and ends its sessions.
    fn close_in_tx(&self, tx: &mut Tx<'_>, user: Id, now: Timestamp) -> QueryResult<AdminOutcome> {
        let Some(locked) = queries::lock_account(tx.connection(), user)? else {
            return Ok(AdminOutcome { changed: false, sessions_ended: 0 });
        };
        queries::close_any_version(tx.connection(), user, now)?;
        audit::record(tx, Event::new(EventKind::AccountDeleted).with_user(user), now)?;
        let reason = EndReason::AccountClosed;
        let sessions_ended = end_sessions_of(&self.revocations, tx, user, reason, now)?;
        erase_traces(tx, user, &locked.email, now)?;
        Ok(AdminOutcome { changed: true, sessions_ended })
    }

    /// Deletes the rows of an account that may have just been closed.
    async fn delete_remains(
        &self,
        user: Id,
        closed: AdminOutcome,
    ) -> Result<AdminOutcome, StoreError> {
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
    /// [`StoreError`]: no session has ended.
    pub async fn end_sessions(&self, user: Id) -> Result<AdminOutcome, StoreError> {
        self.write(move |this, tx, now| {
            let reason = EndReason::EndedByOperator;
            let ended = end_sessions_of(&this.revocations, tx, user, reason, now)?;
            Ok(AdminOutcome { changed: ended > 0, sessions_ended: ended })
        })
        .await
    }

    /// Sets a new password and ends every session. A disabled account stays disabled.
    ///
    /// # Errors
    /// [`StoreError`]: the old password stays valid.
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
                if let Some(mail) = &this.mail {
                    let context = NoticeContext::default();
                    mail.notify(tx, user, MessageKind::PasswordChanged, context, now)?;
                }
                let reason = EndReason::PasswordChanged;
                sessions_ended = end_sessions_of(&this.revocations, tx, user, reason, now)?;
            }
            Ok(AdminOutcome { changed, sessions_ended })
        })
        .await
    }

    /// Sets an unproven address, ends every session and the account's mail requests; `None` when another account has the address.
    ///
    /// # Errors
    /// [`StoreError`]: the address has not changed.
    pub async fn set_email(
        &self,
        user: Id,
        email: Email,
    ) -> Result<Option<AdminOutcome>, StoreError> {
        let this = self.clone();
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                tx.in_savepoint(|tx| this.set_email_in_tx(tx, user, &email, now))
            })
            .await
    }

    fn set_email_in_tx(
        &self,
        tx: &mut Tx<'_>,
        user: Id,
        email: &Email,
        now: Timestamp,
    ) -> QueryResult<Option<AdminOutcome>> {
        let old_recipient = notices::notice_recipient(tx.connection(), user)?;
        let changed = queries::mail::replace_address(tx.connection(), user, email)?;
        let owner = queries::find_id(tx.connection(), email)?;
        if owner.is_some_and(|owner| owner != user) {
            return Ok(None);
        }
        let mut sessions_ended = 0;
        if changed {
            audit::record(tx, Event::new(EventKind::EmailChanged).with_user(user), now)?;
            // Not those for the old address, which may belong to somebody else by now.
            mail::requests::end_of_account(tx, user, None, now)?;
            if let (Some(mail), Some(recipient)) = (&self.mail, &old_recipient) {
                let context = NoticeContext::default();
                mail.notify_at(tx, recipient, MessageKind::EmailChanged, context, now)?;
            }
            let reason = EndReason::EmailChanged;
            sessions_ended = end_sessions_of(&self.revocations, tx, user, reason, now)?;
            self.announce(tx, sessions_ended)?;
        }
        Ok(Some(AdminOutcome { changed, sessions_ended }))
    }

    /// Notifies other nodes of ended sessions after the commit, unless the sync does.
    fn announce(&self, tx: &mut Tx<'_>, sessions_ended: usize) -> QueryResult<()> {
        if sessions_ended > 0 && self.announcement == Announcement::AtCommit {
            self.revocations.announce(tx)?;
        }
        Ok(())
    }

    /// One unit of work, after which other nodes are notified.
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
                this.announce(tx, done.sessions_ended)?;
                Ok(done)
            })
            .await
    }
}

/// Disables an account in the caller's unit of work: first the user's row, then the sessions, so
/// that a concurrent login leaves no session behind.
///
/// # Errors
/// The database error.
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

/// Lets an account log in again, in the caller's unit of work; false when it was not disabled.
fn enable(tx: &mut Tx<'_>, user: Id, now: Timestamp) -> QueryResult<bool> {
    let changed = queries::enable(tx.connection(), user)?;
    if changed {
        audit::record(tx, Event::new(EventKind::AccountEnabled).with_user(user), now)?;
    }
    Ok(changed)
}
