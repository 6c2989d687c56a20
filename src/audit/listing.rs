//! Lists of stored events.

use serde::Serialize;

use super::{Audit, AuditEntry, EventKind, queries};
use crate::clock::Timestamp;
use crate::database::{Database, Id, StoreError};

/// The filter of a list of events.
#[derive(Clone, Copy, Debug)]
pub struct EventFilter {
    /// Events of this account.
    pub user: Option<Id>,
    /// Events of this kind.
    pub kind: Option<EventKind>,
    /// Events from this time on.
    pub since: Option<Timestamp>,
    /// Events before this one.
    pub before: Option<Id>,
    /// The maximum number of events.
    pub limit: u32,
}

/// The filter of a list of events that a program reads from the oldest on.
#[derive(Clone, Copy, Debug)]
pub struct EventRange {
    /// Events of this account.
    pub user: Option<Id>,
    /// Events of this kind.
    pub kind: Option<EventKind>,
    /// Events after this one.
    pub after: Option<Id>,
    /// The maximum number of events.
    pub limit: u32,
}

/// A page of events in the order of the list.
#[derive(Clone, Debug, Serialize)]
pub struct EventPage {
    /// The events.
    pub events: Vec<AuditEntry>,
    /// The event after or before which the next page begins; `None` on the last.
    pub next: Option<Id>,
}

/// Lists stored events.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list(db: &Database, wanted: EventFilter) -> Result<EventPage, StoreError> {
    let events = db.read(move |c| queries::list(c, &wanted)).await?;
    Ok(EventPage::of(events, wanted.limit))
}

impl EventPage {
    /// A page from one more event than it has.
    fn of(mut events: Vec<AuditEntry>, limit: u32) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_more = events.len() > limit;
        events.truncate(limit);
        let last = events.last().map(|event| event.id);
        Self { events, next: last.filter(|_| is_more) }
    }
}

impl Audit {
    /// Events of all accounts, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn events_after(&self, wanted: EventRange) -> Result<EventPage, StoreError> {
        let events = self.db.read(move |c| queries::list_after(c, &wanted)).await?;
        Ok(EventPage::of(events, wanted.limit))
    }

    /// At most `limit` events of an account before `before`, the newest first, without the
    /// operators who caused them.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn activity(
        &self,
        user: Id,
        before: Option<Id>,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        let wanted = EventFilter { user: Some(user), kind: None, since: None, before, limit };
        let mut page = list(&self.db, wanted).await?;
        page.events.iter_mut().for_each(|event| event.actor = None);
        Ok(page)
    }
}
