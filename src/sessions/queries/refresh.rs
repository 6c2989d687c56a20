//! A session as a refresh reads and updates it.

use diesel::prelude::*;

use super::generation;
use crate::clients::{self, ClientSettings};
use crate::clock::Timestamp;
use crate::database::schema::{clients as registered, sessions, users};
use crate::database::{AnyConnection, Id, PreparedUpdate};
use crate::sessions::authentication::authentication_of;
use crate::sessions::rotation::{EndReason, KeyHash, SessionState};
use crate::sessions::{Device, Subject};

/// The columns of a session that a refresh needs.
#[derive(Debug, Queryable)]
pub(in crate::sessions) struct SessionRow {
    pub user_id: Id,
    pub client_id: String,
    pub family_hash: Vec<u8>,
    generation: i64,
    rotated_at: Option<Timestamp>,
    retry_keys: Vec<u8>,
    forgiven_generation: Option<i64>,
    reopened_generation: Option<i64>,
    pub expires_at: Timestamp,
    ends_at: Timestamp,
    end_reason: Option<String>,
    user_agent: Option<String>,
    address: Option<String>,
    pub created_at: Timestamp,
    auth_time: Option<Timestamp>,
    amr: Option<String>,
    roles: String,
    claims: Option<String>,
    disabled_at: Option<Timestamp>,
    registered: Option<String>,
    token_lifetime: Option<i64>,
    retry_window: Option<i64>,
}

impl SessionRow {
    /// The input of the rotation rule.
    pub(in crate::sessions) fn state(&self) -> SessionState {
        let ended = match (self.end_reason.as_deref(), self.disabled_at) {
            // A name that a later version wrote ends the session as well.
            (Some(name), _) => Some(EndReason::parse(name).unwrap_or(EndReason::EndedByUser)),
            (None, Some(_)) => Some(EndReason::AccountDisabled),
            // The sessions of a removed client end batch by batch; until then the missing client
            // counts.
            (None, None) if self.registered.is_none() && self.client_id != clients::BUILT_IN => {
                Some(EndReason::ClientRemoved)
            }
            (None, None) => None,
        };
        SessionState {
            generation: generation(self.generation),
            rotated_at: self.rotated_at,
            retry_keys: KeyHash::split(&self.retry_keys),
            forgiven_generation: self.forgiven_generation.map(generation),
            reopened_generation: self.reopened_generation.map(generation),
            ended,
            expires_at: self.expires_at,
            ends_at: self.ends_at,
        }
    }

    pub(in crate::sessions) fn subject(&self) -> Subject {
        let roles = self.roles.split_whitespace().map(str::to_owned).collect();
        let authentication = authentication_of(self.auth_time, self.amr.clone());
        Subject::new(self.user_id, roles, self.claims.as_deref(), authentication)
    }

    /// The settings of the session's client.
    pub(in crate::sessions) fn client_settings(&self) -> ClientSettings {
        ClientSettings::from_micros((self.token_lifetime, self.retry_window))
    }

    /// Whether the session was last used from this address.
    pub(in crate::sessions) fn is_at(&self, address: &str) -> bool {
        self.address.as_deref() == Some(address)
    }

    /// Whether a request comes from another address and another user agent than the last rotation.
    /// One difference is not enough: phones change networks, and programs are updated.
    pub(in crate::sessions) fn came_from_other_device(&self, device: &Device) -> bool {
        self.address != device.address && self.user_agent != device.user_agent
    }
}

/// A session, joined with its owner's account and its client.
pub(in crate::sessions) fn find(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<SessionRow>> {
    sessions::table
        .inner_join(users::table)
        .left_join(registered::table.on(registered::id.eq(sessions::client_id)))
        .filter(sessions::id.eq(id))
        .select((
            sessions::user_id,
            sessions::client_id,
            sessions::family_hash,
            sessions::generation,
            sessions::rotated_at,
            sessions::retry_keys,
            sessions::forgiven_generation,
            sessions::reopened_generation,
            sessions::expires_at,
            sessions::ends_at,
            sessions::end_reason,
            sessions::user_agent,
            sessions::address,
            sessions::created_at,
            sessions::auth_time,
            sessions::amr,
            users::roles,
            users::claims,
            users::disabled_at,
            registered::id.nullable(),
            registered::token_lifetime.nullable(),
            registered::retry_window.nullable(),
        ))
        .get_result(connection)
        .optional()
}

/// The changes of a refresh. `None` leaves a column unchanged.
#[derive(Debug, Default, AsChangeset)]
#[diesel(table_name = sessions)]
pub(in crate::sessions) struct SessionUpdate {
    pub generation: Option<i64>,
    pub rotated_at: Option<i64>,
    pub retry_keys: Option<Vec<u8>>,
    pub forgiven_generation: Option<i64>,
    pub reopened_generation: Option<i64>,
    pub last_seen_at: Option<i64>,
    pub expires_at: Option<i64>,
    pub user_agent: Option<String>,
    pub address: Option<String>,
}

impl SessionUpdate {
    /// Stores these keys of the rotation, and nothing else.
    pub(in crate::sessions) fn of_keys(keys: &[KeyHash]) -> Self {
        Self { retry_keys: Some(KeyHash::join(keys)), ..Self::default() }
    }
}

/// Updates a live session that is unchanged since it was read: the compare-and-set that makes all
/// refreshes one lineage. False when another request was faster.
pub(in crate::sessions) fn compare_and_set(
    connection: &mut AnyConnection,
    id: Id,
    seen: &SessionRow,
    change: &SessionUpdate,
) -> QueryResult<bool> {
    let rotated_at = seen.rotated_at.map(Timestamp::as_micros);
    let update = diesel::update(
        sessions::table
            .filter(sessions::id.eq(id))
            .filter(sessions::generation.eq(seen.generation))
            // Only a session that was never rotated has none, and it is at generation 0 then.
            .filter(sessions::rotated_at.eq(rotated_at).or(sessions::rotated_at.is_null()))
            .filter(sessions::retry_keys.eq(seen.retry_keys.as_slice()))
            .filter(sessions::revoked_at.is_null()),
    );
    let changed = PreparedUpdate(update.set(change).returning(sessions::generation));
    changed.get_result::<i64>(connection).optional().map(|row| row.is_some())
}
