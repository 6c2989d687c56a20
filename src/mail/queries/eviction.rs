//! The statements that make room in a full table.

use diesel::prelude::*;

use super::delete;
use crate::clock::Timestamp;
use crate::database::schema::mail_requests as table;
use crate::database::{AnyConnection, Id};
use crate::mail::MailPurpose;

/// The number of requests with these purposes.
pub(in crate::mail) fn count(
    connection: &mut AnyConnection,
    purposes: &[&str],
) -> QueryResult<i64> {
    table::table.filter(table::purpose.eq_any(purposes)).count().get_result(connection)
}

/// Deletes the first requests with a purpose that expire until a moment, and that were made before
/// the limit on requests counts them.
pub(in crate::mail) fn delete_expired_codes(
    connection: &mut AnyConnection,
    purpose: MailPurpose,
    expires_at: Timestamp,
    counted_since: Timestamp,
    limit: i64,
) -> QueryResult<usize> {
    let ids: Vec<Id> = table::table
        .filter(table::purpose.eq(purpose.as_str()))
        .filter(table::expires_at.le(expires_at))
        .filter(table::created_at.le(counted_since))
        .order(table::expires_at)
        .select(table::id)
        .limit(limit)
        .load(connection)?;
    delete(connection, &ids)
}

/// The oldest requests with a purpose that the limit on requests counts, except those whose message
/// is not chosen yet.
pub(in crate::mail) fn oldest_counted(
    connection: &mut AnyConnection,
    purpose: MailPurpose,
    limit: i64,
) -> QueryResult<Vec<Id>> {
    table::table
        .filter(table::purpose.eq(purpose.as_str()))
        .filter(table::network.is_not_null())
        .filter(table::message.is_not_null().or(table::outcome.is_not_null()))
        .order(table::id)
        .select(table::id)
        .limit(limit)
        .load(connection)
}

/// Deletes those of the requests that have no message and count against no quota of messages, and
/// takes the other ones out of the limit on requests. Returns the number of deleted ones.
pub(in crate::mail) fn uncount(connection: &mut AnyConnection, ids: &[Id]) -> QueryResult<usize> {
    let of_ids = table::table.filter(table::id.eq_any(ids));
    let silent = of_ids
        .filter(table::message.is_null())
        .filter(table::outcome.is_not_null())
        .filter(table::quota.is_null());
    let deleted = diesel::delete(silent).execute(connection)?;
    diesel::update(table::table.filter(table::id.eq_any(ids)))
        .set(table::network.eq(None::<String>))
        .execute(connection)?;
    Ok(deleted)
}
