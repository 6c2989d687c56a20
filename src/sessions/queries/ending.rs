//! Ending sessions, and finding those to end.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::database::schema::sessions;
use crate::database::{AnyConnection, Id, PreparedUpdate};
use crate::sessions::rotation::EndReason;

/// A session that has just ended.
#[derive(Queryable)]
pub(in crate::sessions) struct Ended {
    pub session: Id,
    pub user: Id,
    pub last_seen_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Ended {
    /// When its last token was issued: now at the latest, or by a clock that has been set back
    /// since.
    pub(in crate::sessions) fn last_issued(&self, now: Timestamp) -> Timestamp {
        now.max(self.last_seen_at)
    }
}

const ENDED: (sessions::id, sessions::user_id, sessions::last_seen_at, sessions::expires_at) =
    (sessions::id, sessions::user_id, sessions::last_seen_at, sessions::expires_at);

/// Ends a session; `None` when it has ended before.
pub(in crate::sessions) fn end(
    connection: &mut AnyConnection,
    id: Id,
    reason: EndReason,
    now: Timestamp,
) -> QueryResult<Option<Ended>> {
    let update = diesel::update(sessions::table.find(id).filter(sessions::revoked_at.is_null()))
        .set((sessions::revoked_at.eq(now), sessions::end_reason.eq(reason.as_str())))
        .returning(ENDED);
    PreparedUpdate(update).get_result(connection).optional()
}

/// Ends the ones of these sessions that have not ended before.
pub(in crate::sessions) fn end_some(
    connection: &mut AnyConnection,
    ids: &[Id],
    reason: EndReason,
    now: Timestamp,
) -> QueryResult<Vec<Ended>> {
    let live = sessions::table.filter(sessions::id.eq_any(ids));
    diesel::update(live.filter(sessions::revoked_at.is_null()))
        .set((sessions::revoked_at.eq(now), sessions::end_reason.eq(reason.as_str())))
        .returning(ENDED)
        .get_results(connection)
}

/// Ends every session that has not ended, and returns their number.
pub(in crate::sessions) fn end_every(
    connection: &mut AnyConnection,
    reason: EndReason,
    now: Timestamp,
) -> QueryResult<usize> {
    diesel::update(sessions::table.filter(sessions::revoked_at.is_null()))
        .set((sessions::revoked_at.eq(now), sessions::end_reason.eq(reason.as_str())))
        .execute(connection)
}

/// The ids of the user's sessions that have not been ended, expired or not: a clock would decide
/// whether they have expired, and the clock of the process that ends them may be wrong.
pub(in crate::sessions) fn not_revoked(
    connection: &mut AnyConnection,
    user: Id,
) -> QueryResult<Vec<Id>> {
    sessions::table
        .filter(sessions::user_id.eq(user))
        .filter(sessions::revoked_at.is_null())
        .order(sessions::id)
        .select(sessions::id)
        .load(connection)
}

/// The sessions of a client that were not revoked, expired ones included.
pub(in crate::sessions) fn not_revoked_of_client(
    connection: &mut AnyConnection,
    client_id: &str,
) -> QueryResult<Vec<Id>> {
    sessions::table
        .filter(sessions::client_id.eq(client_id))
        .filter(sessions::revoked_at.is_null())
        .select(sessions::id)
        .load(connection)
}
