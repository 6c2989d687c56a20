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

/// A page of events, the newest first.
#[derive(Clone, Debug, Serialize)]
pub struct EventPage {
    /// The events.
    pub events: Vec<AuditEntry>,
    /// The value of [`EventFilter::before`] for the next page; `None` on the last.
    pub next: Option<Id>,
}

/// Lists stored events.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list(db: &Database, wanted: EventFilter) -> Result<EventPage, StoreError> {
    let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let mut events = db.read(move |c| queries::list(c, &wanted)).await?;
    let is_more = events.len() > limit;
    events.truncate(limit);
    let last = events.last().map(|event| event.id);
    Ok(EventPage { events, next: last.filter(|_| is_more) })
}

impl Audit {
    /// At most `limit` events of an account before `before`, the newest first, without the operators
    /// who caused them.
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
