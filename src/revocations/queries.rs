//! The blocklist table: every statement on it but those that sync it.

use std::collections::HashMap;
use std::time::Duration;

use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::feed;
use crate::clock::Timestamp;
use crate::database::schema::blocklist;
use crate::database::time::{self, greatest};
use crate::database::{AnyConnection, Id};

/// The number of rows.
pub(super) fn count(connection: &mut AnyConnection) -> QueryResult<i64> {
    blocklist::table.count().get_result(connection)
}

/// The whole list, expired rows included: only the purge, which knows whether the clock is right,
/// drops those.
pub(super) fn stored_entries(connection: &mut AnyConnection) -> QueryResult<Vec<(Id, Timestamp)>> {
    blocklist::table.select((blocklist::id, blocklist::expires_at)).load(connection)
}

/// Revoking twice succeeds. The row is deleted and inserted rather than updated, so that other
/// nodes see it. With PostgreSQL it expires `life` after the server's time or later: the clock that
/// the entry was made by may be wrong, and other nodes sign by theirs.
pub(super) fn insert(
    connection: &mut AnyConnection,
    entry: &mut feed::RevocationEntry,
    life: Duration,
    now: Timestamp,
) -> QueryResult<()> {
    diesel::delete(blocklist::table.find(entry.id)).execute(connection)?;
    // `on_conflict` does not exist for both databases at once.
    match connection {
        AnyConnection::Sqlite(c) => {
            let row = row(*entry, now);
            let insert = diesel::insert_into(blocklist::table).values(row);
            insert.on_conflict_do_nothing().execute(c)?;
        }
        AnyConnection::Postgres(c) => {
            let insert = diesel::insert_into(blocklist::table)
                .values(row_with_server_expiry(*entry, life, now));
            let insert = insert.on_conflict_do_nothing().returning(blocklist::expires_at);
            if let Some(expires_at) = insert.get_result(c).optional()? {
                entry.expires_at = expires_at;
            }
        }
    }
    Ok(())
}

/// Inserts several entries like [`insert`]; on PostgreSQL, which may be far away, in one statement.
pub(super) fn insert_all(
    connection: &mut AnyConnection,
    entries: &mut [feed::RevocationEntry],
    life: Duration,
    now: Timestamp,
) -> QueryResult<()> {
    if let AnyConnection::Postgres(c) = connection {
        let ids = entries.iter().map(|entry| entry.id);
        diesel::delete(blocklist::table.filter(blocklist::id.eq_any(ids))).execute(c)?;
        let rows: Vec<_> =
            entries.iter().map(|entry| row_with_server_expiry(*entry, life, now)).collect();
        let insert = diesel::insert_into(blocklist::table).values(rows).on_conflict_do_nothing();
        let stored: Vec<(Id, Timestamp)> =
            insert.returning((blocklist::id, blocklist::expires_at)).get_results(c)?;
        let stored: HashMap<_, _> = stored.into_iter().collect();
        for entry in entries {
            entry.expires_at = stored.get(&entry.id).copied().unwrap_or(entry.expires_at);
        }
        return Ok(());
    }
    entries.iter_mut().try_for_each(|entry| insert(connection, entry, life, now))
}

/// A row that expires `life` after PostgreSQL's time or later.
#[diesel::dsl::auto_type]
fn row_with_server_expiry(entry: feed::RevocationEntry, life: Duration, now: Timestamp) -> _ {
    let (id, expires_at): (Id, Timestamp) = (entry.id, entry.expires_at);
    let of_server: SqlLiteral<BigInt> = time::server_time_after(life);
    let expires_at = greatest(expires_at, of_server);
    (blocklist::id.eq(id), blocklist::expires_at.eq(expires_at), blocklist::revoked_at.eq(now))
}

#[diesel::dsl::auto_type]
fn row(entry: feed::RevocationEntry, now: Timestamp) -> _ {
    let (id, expires_at): (Id, Timestamp) = (entry.id, entry.expires_at);
    (blocklist::id.eq(id), blocklist::expires_at.eq(expires_at), blocklist::revoked_at.eq(now))
}

/// Deletes some of the rows that have expired.
pub(super) fn delete_expired(
    connection: &mut AnyConnection,
    now: Timestamp,
    limit: i64,
) -> QueryResult<usize> {
    let expired: Vec<Id> = blocklist::table
        .filter(blocklist::expires_at.le(now))
        .select(blocklist::id)
        .limit(limit)
        .load(connection)?;
    diesel::delete(blocklist::table.filter(blocklist::id.eq_any(&expired))).execute(connection)?;
    Ok(expired.len())
}
