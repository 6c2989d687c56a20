//! The sessions table: statements by subject, and here those on a session as a whole.

mod devices;
mod ending;
mod listing;
mod purge;
mod refresh;

use diesel::prelude::*;

use super::{Authentication, Device};
use crate::clock::Timestamp;
use crate::database::schema::sessions;
use crate::database::{AnyConnection, Id};

pub(super) use devices::{
    erase_devices, find_trusted, forget_password_change, has_address, record_password_change,
};
pub(super) use ending::{Ended, end, end_every, end_some, not_revoked, not_revoked_of_client};
pub(super) use listing::{count_all_live, count_live, least_used, live};
pub(super) use purge::{delete_of, delete_old};
pub(super) use refresh::{SessionRow, SessionUpdate, compare_and_set, find};

/// A session to be inserted.
pub(super) struct NewSession<'a> {
    pub id: Id,
    pub user_id: Id,
    pub client_id: &'a str,
    pub family_hash: [u8; 32],
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub ends_at: Timestamp,
    pub device: &'a Device,
    pub authentication: Option<&'a Authentication>,
}

fn generation(column: i64) -> u32 {
    u32::try_from(column).unwrap_or(u32::MAX)
}

pub(super) fn insert(connection: &mut AnyConnection, new: &NewSession<'_>) -> QueryResult<()> {
    diesel::insert_into(sessions::table)
        .values((
            sessions::id.eq(new.id),
            sessions::user_id.eq(new.user_id),
            sessions::client_id.eq(new.client_id),
            sessions::family_hash.eq(new.family_hash.as_slice()),
            sessions::generation.eq(0_i64),
            sessions::retry_keys.eq([].as_slice()),
            sessions::created_at.eq(new.created_at),
            sessions::last_seen_at.eq(new.created_at),
            sessions::expires_at.eq(new.expires_at),
            sessions::ends_at.eq(new.ends_at),
            sessions::label.eq(new.device.label.as_deref()),
            sessions::user_agent.eq(new.device.user_agent.as_deref()),
            sessions::address.eq(new.device.address.as_deref()),
            sessions::auth_time.eq(new.authentication.map(|it| it.at.as_micros())),
            sessions::amr.eq(new.authentication.map(|it| it.methods.as_str())),
        ))
        .execute(connection)
        .map(drop)
}

pub(super) fn client_and_authentication(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<(String, Option<Timestamp>, Option<String>)> {
    let columns = (sessions::client_id, sessions::auth_time, sessions::amr);
    sessions::table.find(id).select(columns).get_result(connection)
}

/// Replaces the authentication of a session; false when the session has ended.
pub(super) fn set_authentication(
    connection: &mut AnyConnection,
    id: Id,
    authentication: &Authentication,
) -> QueryResult<bool> {
    let live = sessions::table.filter(sessions::id.eq(id)).filter(sessions::revoked_at.is_null());
    diesel::update(live)
        .set((
            sessions::auth_time.eq(authentication.at),
            sessions::amr.eq(authentication.methods.as_str()),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

pub(super) fn owner_of(connection: &mut AnyConnection, id: Id) -> QueryResult<Option<Id>> {
    sessions::table.find(id).select(sessions::user_id).get_result(connection).optional()
}
