//! Events without a unit of work, aggregated by account, session, operator and minute until they
//! are written. Pure, except for the ids.

use std::collections::HashMap;
use std::time::Duration;

use super::queries::AuditEntry;
use super::{Event, EventKind};
use crate::clock::Timestamp;
use crate::database::Id;

/// How long events are added to the same row.
const WINDOW: Duration = Duration::from_secs(60);

/// The maximum number of aggregates of one kind: it limits the rows a minute of each node, and a
/// flood of one kind leaves room for the others. A service where passwords of that many accounts
/// are mistyped within a minute has some five thousand logins in it.
const MAX_PER_KIND: usize = 200;

/// Replaces the address when there are several.
const SEVERAL_ADDRESSES: &str = "several addresses";

/// The kind, account, session and operator of events that are added up.
type AggregateKey = (EventKind, Option<Id>, Option<Id>, Option<String>);

/// The aggregated events of the last minute, by kind, account, session and operator.
#[derive(Default)]
pub(super) struct EventAggregates(HashMap<AggregateKey, Aggregate>);

struct Aggregate {
    row: AuditEntry,
    /// The count that is in the database.
    written: i64,
}

impl EventAggregates {
    /// Adds an event; false when there is no room for it.
    pub(super) fn add(&mut self, event: &Event, now: Timestamp) -> bool {
        let key = (event.kind, event.user, event.session, event.actor.clone());
        let is_full = !self.0.contains_key(&key) && self.count_of(event.kind) >= MAX_PER_KIND;
        match self.0.get_mut(&key) {
            // An unwritten row is not dropped for a new minute.
            Some(Aggregate { row, written })
                if now.since(row.at) < WINDOW || row.times != *written =>
            {
                row.times = row.times.saturating_add(1);
                if row.address.is_some() && row.address != event.address {
                    row.address = None;
                    row.detail = Some(SEVERAL_ADDRESSES.to_owned());
                }
            }
            None if is_full => return false,
            _ => {
                self.0.insert(key, Aggregate { row: AuditEntry::of(event, now), written: 0 });
            }
        }
        true
    }

    /// The rows whose counts differ from the database.
    pub(super) fn due(&self) -> Vec<AuditEntry> {
        let due = self.0.values().filter(|sum| sum.row.times != sum.written);
        let mut rows: Vec<AuditEntry> = due.map(|sum| sum.row.clone()).collect();
        // One order, so that two writers of the same rows cannot deadlock.
        rows.sort_unstable_by_key(|row| row.id);
        rows
    }

    /// Records that these have been written, and drops written ones older than a minute.
    pub(super) fn written(&mut self, rows: &[AuditEntry], now: Timestamp) {
        for sum in self.0.values_mut() {
            if let Some(row) = rows.iter().find(|row| row.id == sum.row.id) {
                sum.written = row.times;
            }
        }
        self.0.retain(|_, Aggregate { row, written }| {
            row.times != *written || now.since(row.at) < WINDOW
        });
    }

    fn count_of(&self, kind: EventKind) -> usize {
        self.0.keys().filter(|(of, ..)| *of == kind).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn failure(user: u128, address: &str) -> Event {
        let event = Event::new(EventKind::LoginFailed).with_address(Some(address));
        event.with_user(Uuid::from_u128(user).into())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    fn times(rows: &[AuditEntry]) -> Vec<i64> {
        rows.iter().map(|row| row.times).collect()
    }

    #[test]
    fn the_failures_of_a_minute_are_one_row_and_those_of_the_next_another() {
        let mut aggregates = EventAggregates::default();
        aggregates.add(&failure(1, "192.0.2.1"), at(0));
        aggregates.add(&failure(1, "192.0.2.1"), at(30));
        let first = aggregates.due();
        assert_eq!(times(&first), [2]);
        assert_eq!(first[0].address.as_deref(), Some("192.0.2.1"));
        aggregates.written(&first, at(31));
        assert!(aggregates.due().is_empty());
        aggregates.add(&failure(1, "192.0.2.2"), at(59));
        let again = aggregates.due();
        assert_eq!((again[0].id, times(&again)), (first[0].id, vec![3]));
        assert_eq!(
            (&again[0].address, again[0].detail.as_deref()),
            (&None, Some(SEVERAL_ADDRESSES))
        );
        aggregates.written(&again, at(60));
        aggregates.add(&failure(1, "192.0.2.1"), at(61));
        let next = aggregates.due();
        assert_ne!(next[0].id, first[0].id);
        assert_eq!(times(&next), [1]);
    }

    #[test]
    fn additions_during_a_write_are_written_next() {
        let mut aggregates = EventAggregates::default();
        aggregates.add(&failure(1, "192.0.2.1"), at(0));
        let due = aggregates.due();
        aggregates.add(&failure(1, "192.0.2.1"), at(1));
        aggregates.written(&due, at(100));
        assert_eq!(times(&aggregates.due()), [2]);
        // Nor is it lost when the database is unavailable for long.
        aggregates.add(&failure(1, "192.0.2.1"), at(200));
        assert_eq!(times(&aggregates.due()), [3]);
    }

    #[test]
    fn a_flood_has_a_bounded_number_of_rows() {
        let mut aggregates = EventAggregates::default();
        let kept =
            (0..1000).filter(|user| aggregates.add(&failure(*user, "192.0.2.1"), at(0))).count();
        assert_eq!((kept, aggregates.due().len()), (MAX_PER_KIND, MAX_PER_KIND));
        assert!(aggregates.add(&failure(0, "192.0.2.1"), at(1)), "existing aggregates still count");
        aggregates.written(&aggregates.due(), at(60));
        assert!(aggregates.add(&failure(5000, "192.0.2.1"), at(61)), "there is room again");
    }

    #[test]
    fn a_flood_of_one_kind_leaves_room_for_the_others() {
        let mut aggregates = EventAggregates::default();
        let replay = |session| {
            let event =
                Event::new(EventKind::RefreshReplayedElsewhere).with_address(Some("192.0.2.1"));
            let user = Uuid::from_u128(1).into();
            event.with_user(user).with_session(Uuid::from_u128(session).into())
        };
        let kept = (0..1000).filter(|session| aggregates.add(&replay(*session), at(0))).count();
        assert_eq!(kept, MAX_PER_KIND);
        assert!(aggregates.add(&failure(1, "192.0.2.1"), at(0)));
        assert_eq!(aggregates.due().len(), MAX_PER_KIND + 1);
    }
}
