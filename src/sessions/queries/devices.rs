//! Known devices and networks of a user, for login throttling.

use diesel::prelude::*;

use super::generation;
use crate::clock::Timestamp;
use crate::database::schema::sessions;
use crate::database::{AnyConnection, Id};
use crate::sessions::rotation::EndReason;

/// Whether a session of the user used this address since then and did not end by a reuse, a change
/// or a reset of the password.
pub(in crate::sessions) fn has_address(
    connection: &mut AnyConnection,
    user: Id,
    address: &str,
    since: Timestamp,
) -> QueryResult<bool> {
    let found: i64 = sessions::table
        .filter(sessions::user_id.eq(user))
        .filter(sessions::address.eq(address))
        .filter(sessions::last_seen_at.gt(since))
        .filter(keeps_source_known())
        .count()
        .get_result(connection)?;
    Ok(found > 0)
}

/// A session whose refresh tokens prove a known device, with the columns that matter for that.
#[derive(Queryable)]
pub(in crate::sessions) struct TrustedSession {
    pub user_id: Id,
    pub family_hash: Vec<u8>,
    generation: i64,
}

impl TrustedSession {
    pub(in crate::sessions) fn generation(&self) -> u32 {
        generation(self.generation)
    }
}

/// The session, if its refresh tokens prove a known device: it did not end by a reuse, a change or
/// a reset of the password, or it made the last password change.
pub(in crate::sessions) fn find_trusted(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<TrustedSession>> {
    sessions::table
        .filter(sessions::id.eq(id))
        .filter(keeps_source_known().or(sessions::changed_password_at.is_not_null()))
        .select((sessions::user_id, sessions::family_hash, sessions::generation))
        .get_result(connection)
        .optional()
}

/// Sessions whose device and network stay known: they did not end by a reuse, or by a change or a
/// reset of the password.
#[diesel::dsl::auto_type]
fn keeps_source_known() -> _ {
    let reused: &'static str = EndReason::RefreshTokenReused.as_str();
    let changed: &'static str = EndReason::PasswordChanged.as_str();
    let reset: &'static str = EndReason::PasswordReset.as_str();
    sessions::end_reason.is_null().or(sessions::end_reason
        .ne(reused)
        .and(sessions::end_reason.ne(changed))
        .and(sessions::end_reason.ne(reset)))
}

/// Clears the record of the user's session that changed the password, before the next change.
pub(in crate::sessions) fn forget_password_change(
    connection: &mut AnyConnection,
    user: Id,
) -> QueryResult<()> {
    let nothing = None::<i64>;
    let noted = sessions::table
        .filter(sessions::user_id.eq(user))
        .filter(sessions::changed_password_at.is_not_null());
    diesel::update(noted)
        .set(sessions::changed_password_at.eq(nothing))
        .execute(connection)
        .map(drop)
}

/// Records that a live session changes the password. For one that has ended before nothing changes.
pub(in crate::sessions) fn record_password_change(
    connection: &mut AnyConnection,
    id: Id,
    now: Timestamp,
) -> QueryResult<()> {
    let live = sessions::table.filter(sessions::id.eq(id)).filter(sessions::revoked_at.is_null());
    diesel::update(live).set(sessions::changed_password_at.eq(now)).execute(connection).map(drop)
}

pub(in crate::sessions) fn erase_devices(
    connection: &mut AnyConnection,
    user: Id,
) -> QueryResult<()> {
    let nothing = None::<String>;
    diesel::update(sessions::table.filter(sessions::user_id.eq(user)))
        .set((
            sessions::label.eq(&nothing),
            sessions::user_agent.eq(&nothing),
            sessions::address.eq(&nothing),
        ))
        .execute(connection)
        .map(drop)
}
