//! Removing the second factors of an account, and ending sessions without one.

use crate::accounts::queries;
use crate::audit::{self, Event, EventKind};
use crate::database::{Id, StoreError};
use crate::mail::messages::MessageKind;
use crate::mail::notices::NoticeContext;
use crate::sessions::end_sessions_of;
use crate::sessions::rotation::EndReason;

use super::{AccountAdmin, AdminOutcome};

/// The number of accounts read in one query.
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

    /// Ends the sessions of every account without a second factor, or of those with this role.
    /// Returns the number of accounts and of sessions that ended.
    ///
    /// # Errors
    /// [`StoreError`]: some may have ended; another call continues.
    pub async fn end_sessions_without_factor(
        &self,
        role: Option<&str>,
    ) -> Result<(usize, usize), StoreError> {
        let (mut after, mut accounts, mut sessions) = (None, 0, 0);
        loop {
            let rows =
                self.db.read(move |c| queries::factors::without_factor(c, after, BATCH)).await?;
            let Some((last, _)) = rows.last() else { return Ok((accounts, sessions)) };
            after = Some(*last);
            let has_role =
                |roles: &str| role.is_none_or(|it| roles.split(' ').any(|own| own == it));
            for (user, _) in rows.iter().filter(|(_, roles)| has_role(roles)) {
                let ended = self.end_sessions(*user).await?.sessions_ended;
                accounts += usize::from(ended > 0);
                sessions += ended;
            }
        }
    }
}
