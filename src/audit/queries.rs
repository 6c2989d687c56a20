//! The table of events: every statement on it.

use std::iter;

use diesel::dsl::case_when;
use diesel::prelude::*;
use diesel::upsert::excluded;
use serde::Serialize;

use super::ids::{first_id, next_id};
use super::{Event, EventFilter, EventRange};
use crate::clock::Timestamp;
use crate::database::schema::{audit_events, users};
use crate::database::{AnyConnection, Id};

/// An event as it is stored, and as the admin API and `doorward audit --json` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Queryable, Insertable)]
#[diesel(table_name = audit_events, treat_none_as_default_value = false)]
pub struct AuditEntry {
    /// Its id, which begins with the time.
    pub id: Id,
    /// When it happened; for aggregated events, the first time.
    pub at: Timestamp,
    /// The name of its kind; this version may not know one that a later version wrote.
    pub event: String,
    /// The account that it concerns.
    pub user_id: Option<Id>,
    /// The session that it concerns.
    pub session_id: Option<Id>,
    /// The client address: an IPv4 address, or the first one of an IPv6 /64.
    pub address: Option<String>,
    /// The detail.
    pub detail: Option<String>,
    /// How often it happened within a minute.
    pub times: i64,
    /// The operator who caused it: `os:NAME` for a command, or a client's id. Owners never see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

impl AuditEntry {
    pub(super) fn of(event: &Event, now: Timestamp) -> Self {
        Self {
            id: next_id(now),
            at: now,
            event: event.kind.as_str().to_owned(),
            user_id: event.user,
            session_id: event.session,
            address: event.address.clone(),
            detail: event.detail.clone(),
            times: 1,
            actor: event.actor.clone(),
        }
    }
}

pub(super) fn insert(connection: &mut AnyConnection, entry: &AuditEntry) -> QueryResult<()> {
    diesel::insert_into(audit_events::table).values(entry).execute(connection).map(drop)
}

/// Inserts the events; on PostgreSQL, which may be far away, in one statement.
pub(super) fn insert_all(
    connection: &mut AnyConnection,
    entries: &[AuditEntry],
) -> QueryResult<()> {
    if let AnyConnection::Postgres(c) = connection {
        return diesel::insert_into(audit_events::table).values(entries).execute(c).map(drop);
    }
    entries.iter().try_for_each(|entry| insert(connection, entry))
}

/// Inserts the events or updates them. Running it twice is harmless. An erased address stays
/// erased: there were several, or the account was closed meanwhile.
pub(super) fn put(connection: &mut AnyConnection, entries: &[AuditEntry]) -> QueryResult<()> {
    let address = case_when(audit_events::address.is_not_null(), excluded(audit_events::address));
    let changed = (
        audit_events::times.eq(excluded(audit_events::times)),
        audit_events::address.eq(address),
        audit_events::detail.eq(excluded(audit_events::detail)),
    );
    match connection {
        AnyConnection::Sqlite(c) => entries.iter().try_for_each(|entry| {
            let insert = diesel::insert_into(audit_events::table).values(entry);
            insert.on_conflict(audit_events::id).do_update().set(changed).execute(c).map(drop)
        })?,
        AnyConnection::Postgres(c) => {
            let insert = diesel::insert_into(audit_events::table).values(entries);
            insert.on_conflict(audit_events::id).do_update().set(changed).execute(c).map(drop)?;
        }
    }
    erase_addresses_of_closed(connection, entries)
}

/// Erases addresses from those of the events that concern a closed or deleted account.
fn erase_addresses_of_closed(
    connection: &mut AnyConnection,
    entries: &[AuditEntry],
) -> QueryResult<()> {
    let with_address = entries.iter().filter(|entry| entry.address.is_some());
    let (ids, of): (Vec<Id>, Vec<Id>) =
        with_address.filter_map(|entry| Some((entry.id, entry.user_id?))).unzip();
    if ids.is_empty() {
        return Ok(());
    }
    let open: Vec<Id> = users::table
        .filter(users::id.eq_any(&of))
        .filter(users::closed_at.is_null())
        .select(users::id)
        .load(connection)?;
    let not_open: Vec<Id> =
        iter::zip(ids, of).filter(|(_, user)| !open.contains(user)).map(|(id, _)| id).collect();
    if not_open.is_empty() {
        return Ok(());
    }
    diesel::update(audit_events::table.filter(audit_events::id.eq_any(&not_open)))
        .set(audit_events::address.eq(None::<String>))
        .execute(connection)
        .map(drop)
}

/// The newest first, and one more than requested if there are older ones.
pub(super) fn list(
    connection: &mut AnyConnection,
    wanted: &EventFilter,
) -> QueryResult<Vec<AuditEntry>> {
    let mut query = audit_events::table
        .order(audit_events::id.desc())
        .limit(i64::from(wanted.limit) + 1)
        .into_boxed();
    if let Some(user) = wanted.user {
        query = query.filter(audit_events::user_id.eq(user));
    }
    if let Some(kind) = wanted.kind {
        query = query.filter(audit_events::event.eq(kind.as_str()));
    }
    if let Some(since) = wanted.since {
        query = query.filter(audit_events::id.ge(first_id(since)));
    }
    if let Some(before) = wanted.before {
        query = query.filter(audit_events::id.lt(before));
    }
    query.load(connection)
}

/// The oldest first, and one more than requested if there are newer ones.
pub(super) fn list_after(
    connection: &mut AnyConnection,
    wanted: &EventRange,
) -> QueryResult<Vec<AuditEntry>> {
    let mut query =
        audit_events::table.order(audit_events::id).limit(i64::from(wanted.limit) + 1).into_boxed();
    if let Some(user) = wanted.user {
        query = query.filter(audit_events::user_id.eq(user));
    }
    if let Some(kind) = wanted.kind {
        query = query.filter(audit_events::event.eq(kind.as_str()));
    }
    if let Some(after) = wanted.after {
        query = query.filter(audit_events::id.gt(after));
    }
    query.load(connection)
}

pub(super) fn erase_addresses(connection: &mut AnyConnection, user: Id) -> QueryResult<()> {
    let of_user = audit_events::table.filter(audit_events::user_id.eq(user));
    diesel::update(of_user.filter(audit_events::address.is_not_null()))
        .set(audit_events::address.eq(None::<String>))
        .execute(connection)
        .map(drop)
}

pub(super) fn delete_before(
    connection: &mut AnyConnection,
    before: Id,
    limit: i64,
) -> QueryResult<usize> {
    let old: Vec<Id> = audit_events::table
        .filter(audit_events::id.lt(before))
        .order(audit_events::id)
        .select(audit_events::id)
        .limit(limit)
        .load(connection)?;
    diesel::delete(audit_events::table.filter(audit_events::id.eq_any(&old)))
        .execute(connection)?;
    Ok(old.len())
}
