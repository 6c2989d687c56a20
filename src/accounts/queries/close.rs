//! Closed accounts: erased, and deleted once their sessions are.

use diesel::dsl::exists;
use diesel::prelude::*;

use super::factors::without_factors;
use super::{Credentials, incremented_version, open_account, unchanged_since_read};
use crate::clock::Timestamp;
use crate::database::schema::{sessions, users};
use crate::database::{AnyConnection, Id};

/// Closed accounts that one unit of work of a purge deletes.
const PURGE_BATCH: i64 = 200;

/// Erases an account, provided that it is unchanged since it was read. The row itself stays as long
/// as its sessions are stored; its address can be registered again immediately.
pub(in crate::accounts) fn close(
    connection: &mut AnyConnection,
    verified: &Credentials,
    now: Timestamp,
) -> QueryResult<bool> {
    diesel::update(unchanged_since_read(verified))
        .set(erased(verified.id, now))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Erases an account unconditionally, to delete it.
pub(in crate::accounts) fn close_any_version(
    connection: &mut AnyConnection,
    id: Id,
    now: Timestamp,
) -> QueryResult<()> {
    diesel::update(open_account(id)).set(erased(id, now)).execute(connection).map(drop)
}

#[diesel::dsl::auto_type]
fn erased(id: Id, now: Timestamp) -> _ {
    // No address contains a space.
    let key: String = format!("closed {id}");
    let at: i64 = now.as_micros();
    let no_claims: Option<String> = None;
    let not_invited: Option<i64> = None;
    (
        users::email.eq(""),
        users::email_key.eq(key),
        users::password_hash.eq(""),
        users::roles.eq(""),
        users::claims.eq(no_claims),
        users::invited_until.eq(not_invited),
        without_factors(),
        users::closed_at.eq(at),
        incremented_version(),
    )
}

/// Deletes the row of a closed account without sessions.
pub(in crate::accounts) fn delete(connection: &mut AnyConnection, id: Id) -> QueryResult<bool> {
    let closed = users::table.filter(users::id.eq(id)).filter(users::closed_at.is_not_null());
    diesel::delete(closed).execute(connection).map(|rows| rows == 1)
}

/// Deletes closed accounts without sessions.
pub(in crate::accounts) fn delete_closed(connection: &mut AnyConnection) -> QueryResult<usize> {
    let own_sessions = sessions::table.filter(sessions::user_id.eq(users::id));
    let without_sessions: Vec<Id> = users::table
        .filter(users::closed_at.is_not_null())
        .filter(diesel::dsl::not(exists(own_sessions)))
        .select(users::id)
        .limit(PURGE_BATCH)
        .load(connection)?;
    diesel::delete(users::table.filter(users::id.eq_any(&without_sessions))).execute(connection)?;
    Ok(without_sessions.len())
}
