//! Removing the second factors of an account, and ending sessions without one.

use std::collections::HashSet;

use crate::accounts::queries;
use crate::accounts::queries::factors::sessions_without_factor;
use crate::audit::{self, Event, EventKind};
use crate::database::{Id, StoreError};
use crate::mail::messages::MessageKind;
use crate::mail::notices::NoticeContext;
use crate::sessions::end_sessions_of;
use crate::sessions::rotation::EndReason;

use super::{AccountAdmin, AdminOutcome};

/// The number of sessions read in one query.
const BATCH: u32 = 500;

impl AccountAdmin {
    /// Removes every second factor and recovery code of an account, and ends its sessions: for an
    /// owner who has lost all of them. The password alone logs in then.
    ///
    /// # Errors
    /// [`StoreError`]: nothing has changed.
    pub async fn reset_factors(&self, user: Id) -> Result<AdminOutcome, StoreError> {
        self.write(move |this, tx, now| {
            let changed = queries::factors::reset(tx.connection(), user)?;
            let mut sessions_ended = 0;
            if changed {
                audit::record(tx, Event::new(EventKind::FactorsReset).with_user(user), now)?;
                if let Some(mail) = &this.mail {
                    let context = NoticeContext::default();
                    mail.notify(tx, user, MessageKind::FactorsReset, context, now)?;
                }
                let reason = EndReason::FactorsReset;
                sessions_ended = end_sessions_of(&this.revocations, tx, user, reason, now)?;
            }
            Ok(AdminOutcome { changed, sessions_ended })
        })
        .await
    }

    /// Ends every session without the proof of a second factor, or those of accounts with this
    /// role. Returns the number of accounts and of sessions that ended.
    ///
    /// # Errors
    /// [`StoreError`]: some may have ended; another call continues.
    pub async fn end_sessions_without_factor(
        &self,
        role: Option<&str>,
    ) -> Result<(usize, usize), StoreError> {
        let (mut after, mut accounts, mut sessions) = (None, HashSet::new(), 0);
        loop {
            let rows = self.db.read(move |c| sessions_without_factor(c, after, BATCH)).await?;
            let Some(last) = rows.last() else { return Ok((accounts.len(), sessions)) };
            after = Some(last.id);
            let has_role =
                |roles: &str| role.is_none_or(|it| roles.split(' ').any(|own| own == it));
            for session in rows.iter().filter(|session| has_role(&session.roles)) {
                if self.end_session_of(session.user, session.id).await? {
                    accounts.insert(session.user);
                    sessions += 1;
                }
            }
        }
    }
}
