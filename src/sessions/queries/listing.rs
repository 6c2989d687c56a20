//! Live sessions: listed, counted and ordered by their use.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::database::schema::sessions;
use crate::database::{AnyConnection, Id};
use crate::sessions::Session;

type SessionColumns = (
    Id,
    Option<String>,
    Option<String>,
    Option<String>,
    Timestamp,
    Timestamp,
    Timestamp,
    Timestamp,
);

/// The user's live sessions, the most recently used first.
pub(in crate::sessions) fn live(
    connection: &mut AnyConnection,
    user: Id,
    now: Timestamp,
) -> QueryResult<Vec<Session>> {
    let rows: Vec<SessionColumns> = live_of(user, now)
        .order((sessions::last_seen_at.desc(), sessions::id.desc()))
        .select((
            sessions::id,
            sessions::label,
            sessions::user_agent,
            sessions::address,
            sessions::created_at,
            sessions::last_seen_at,
            sessions::expires_at,
            sessions::ends_at,
        ))
        .load(connection)?;
    let session =
        |(id, label, user_agent, address, created_at, last_seen_at, expires_at, ends_at)| Session {
            id,
            label,
            user_agent,
            address,
            created_at,
            last_seen_at,
            expires_at,
            ends_at,
            current: None,
        };
    Ok(rows.into_iter().map(session).collect())
}

/// The sessions to end first.
pub(in crate::sessions) fn least_used(
    connection: &mut AnyConnection,
    user: Id,
    now: Timestamp,
    limit: i64,
) -> QueryResult<Vec<Id>> {
    live_of(user, now)
        .order((sessions::rotated_at.is_not_null(), sessions::last_seen_at, sessions::id))
        .select(sessions::id)
        .limit(limit)
        .load(connection)
}

pub(in crate::sessions) fn count_live(
    connection: &mut AnyConnection,
    user: Id,
    now: Timestamp,
) -> QueryResult<i64> {
    live_of(user, now).count().get_result(connection)
}

pub(in crate::sessions) fn count_all_live(
    connection: &mut AnyConnection,
    now: Timestamp,
) -> QueryResult<i64> {
    sessions::table
        .filter(sessions::revoked_at.is_null())
        .filter(sessions::expires_at.gt(now))
        .count()
        .get_result(connection)
}

#[diesel::dsl::auto_type]
fn live_of(user: Id, now: Timestamp) -> _ {
    sessions::table
        .filter(sessions::user_id.eq(user))
        .filter(sessions::revoked_at.is_null())
        .filter(sessions::expires_at.gt(now))
}
