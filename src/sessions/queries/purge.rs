//! Deleting sessions.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::database::schema::sessions;
use crate::database::{AnyConnection, Id};

/// Deletes sessions that were revoked, or reached their absolute timeout, before then.
pub(in crate::sessions) fn delete_old(
    connection: &mut AnyConnection,
    before: Timestamp,
    limit: i64,
) -> QueryResult<usize> {
    let revoked: Vec<Id> = sessions::table
        .filter(sessions::revoked_at.lt(before))
        .select(sessions::id)
        .limit(limit)
        .load(connection)?;
    let timed_out: Vec<Id> = sessions::table
        .filter(sessions::ends_at.lt(before))
        .select(sessions::id)
        .limit(limit)
        .load(connection)?;
    let old = revoked.iter().chain(&timed_out);
    diesel::delete(sessions::table.filter(sessions::id.eq_any(old))).execute(connection)?;
    Ok(revoked.len() + timed_out.len())
}

/// Deletes sessions of a user in any state.
pub(in crate::sessions) fn delete_of(
    connection: &mut AnyConnection,
    user: Id,
    limit: i64,
) -> QueryResult<usize> {
    let ids: Vec<Id> = sessions::table
        .filter(sessions::user_id.eq(user))
        .select(sessions::id)
        .limit(limit)
        .load(connection)?;
    diesel::delete(sessions::table.filter(sessions::id.eq_any(&ids))).execute(connection)?;
    Ok(ids.len())
}
