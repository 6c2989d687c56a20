//! The sessions table: every statement on it.

use diesel::prelude::*;

use super::rotation::{EndReason, KeyHash, SessionState};
use super::{Device, Session, Subject};
use crate::clients::{self, ClientSettings};
use crate::clock::Timestamp;
use crate::database::schema::{clients as registered, sessions, users};
use crate::database::{AnyConnection, Id, PreparedUpdate};

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
}

/// The columns of a session that a refresh needs.
#[derive(Debug, Queryable)]
pub(super) struct SessionRow {
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
    roles: String,
    disabled_at: Option<Timestamp>,
    registered: Option<String>,
    token_lifetime: Option<i64>,
    retry_window: Option<i64>,
}

impl SessionRow {
    /// The input of the rotation rule.
    pub(super) fn state(&self) -> SessionState {
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
}

impl SessionRow {
    pub(super) fn subject(&self) -> Subject {
        let roles = self.roles.split_whitespace().map(str::to_owned).collect();
        Subject { user: self.user_id, roles }
    }

    /// The settings of the session's client.
    pub(super) fn client_settings(&self) -> ClientSettings {
        ClientSettings::from_micros((self.token_lifetime, self.retry_window))
    }

    /// Whether the session was last used from this address.
    pub(super) fn is_at(&self, address: &str) -> bool {
        self.address.as_deref() == Some(address)
    }

    /// Whether a request comes from another address and another user agent than the last rotation.
    /// One difference is not enough: phones change networks, and programs are updated.
    pub(super) fn came_from_other_device(&self, device: &Device) -> bool {
        self.address != device.address && self.user_agent != device.user_agent
    }
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
        ))
        .execute(connection)
        .map(drop)
}

pub(super) fn client_of(connection: &mut AnyConnection, id: Id) -> QueryResult<String> {
    sessions::table.find(id).select(sessions::client_id).get_result(connection)
}

/// The live sessions of a client.
pub(super) fn live_of_client(
    connection: &mut AnyConnection,
    client_id: &str,
) -> QueryResult<Vec<Id>> {
    sessions::table
        .filter(sessions::client_id.eq(client_id))
        .filter(sessions::revoked_at.is_null())
        .select(sessions::id)
        .load(connection)
}

/// A session, joined with its owner's account and its client.
pub(super) fn find(connection: &mut AnyConnection, id: Id) -> QueryResult<Option<SessionRow>> {
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
            users::roles,
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
pub(super) struct SessionUpdate {
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
    pub(super) fn of_keys(keys: &[KeyHash]) -> Self {
        Self { retry_keys: Some(KeyHash::join(keys)), ..Self::default() }
    }
}

/// Updates a live session that is unchanged since it was read: the compare-and-set that makes all
/// refreshes one lineage. False when another request was faster.
pub(super) fn compare_and_set(
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

/// A session that has just ended.
#[derive(Queryable)]
pub(super) struct Ended {
    pub session: Id,
    pub user: Id,
    pub last_seen_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Ended {
    /// When its last token was issued: now at the latest, or by a clock that has been set back
    /// since.
    pub(super) fn last_issued(&self, now: Timestamp) -> Timestamp {
        now.max(self.last_seen_at)
    }
}

const ENDED: (sessions::id, sessions::user_id, sessions::last_seen_at, sessions::expires_at) =
    (sessions::id, sessions::user_id, sessions::last_seen_at, sessions::expires_at);

/// Ends a session; `None` when it has ended before.
pub(super) fn end(
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
pub(super) fn end_some(
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
pub(super) fn end_every(
    connection: &mut AnyConnection,
    reason: EndReason,
    now: Timestamp,
) -> QueryResult<usize> {
    diesel::update(sessions::table.filter(sessions::revoked_at.is_null()))
        .set((sessions::revoked_at.eq(now), sessions::end_reason.eq(reason.as_str())))
        .execute(connection)
}

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

#[diesel::dsl::auto_type]
fn live_of(user: Id, now: Timestamp) -> _ {
    sessions::table
        .filter(sessions::user_id.eq(user))
        .filter(sessions::revoked_at.is_null())
        .filter(sessions::expires_at.gt(now))
}

/// The user's live sessions, the most recently used first.
pub(super) fn live(
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
            current: false,
        };
    Ok(rows.into_iter().map(session).collect())
}

/// The ids of the user's sessions that have not been ended, expired or not: a clock would decide
/// whether they have expired, and the clock of the process that ends them may be wrong.
pub(super) fn not_revoked(connection: &mut AnyConnection, user: Id) -> QueryResult<Vec<Id>> {
    sessions::table
        .filter(sessions::user_id.eq(user))
        .filter(sessions::revoked_at.is_null())
        .order(sessions::id)
        .select(sessions::id)
        .load(connection)
}

pub(super) fn count_live(
    connection: &mut AnyConnection,
    user: Id,
    now: Timestamp,
) -> QueryResult<i64> {
    live_of(user, now).count().get_result(connection)
}

pub(super) fn count_all_live(connection: &mut AnyConnection, now: Timestamp) -> QueryResult<i64> {
    sessions::table
        .filter(sessions::revoked_at.is_null())
        .filter(sessions::expires_at.gt(now))
        .count()
        .get_result(connection)
}

/// The sessions to end first.
pub(super) fn least_used(
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

/// Whether a session of the user used this address since then and was not ended for suspicion.
pub(super) fn has_address(
    connection: &mut AnyConnection,
    user: Id,
    address: &str,
    since: Timestamp,
) -> QueryResult<bool> {
    let found: i64 = sessions::table
        .filter(sessions::user_id.eq(user))
        .filter(sessions::address.eq(address))
        .filter(sessions::last_seen_at.gt(since))
        .filter(unsuspicious())
        .count()
        .get_result(connection)?;
    Ok(found > 0)
}

/// A session that was not ended for suspicion, with the columns that matter for known devices.
#[derive(Queryable)]
pub(super) struct TrustedSession {
    pub user_id: Id,
    pub family_hash: Vec<u8>,
    generation: i64,
}

impl TrustedSession {
    pub(super) fn generation(&self) -> u32 {
        generation(self.generation)
    }
}

/// The session, if its devices count as known: it was not ended for suspicion, or is the one that
/// changed the password last.
pub(super) fn find_trusted(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<TrustedSession>> {
    sessions::table
        .filter(sessions::id.eq(id))
        .filter(unsuspicious().or(sessions::changed_password_at.is_not_null()))
        .select((sessions::user_id, sessions::family_hash, sessions::generation))
        .get_result(connection)
        .optional()
}

#[diesel::dsl::auto_type]
fn unsuspicious() -> _ {
    let reused: &'static str = EndReason::RefreshTokenReused.as_str();
    let changed: &'static str = EndReason::PasswordChanged.as_str();
    sessions::end_reason
        .is_null()
        .or(sessions::end_reason.ne(reused).and(sessions::end_reason.ne(changed)))
}

/// Clears the record of the user's session that changed the password, before the next change.
pub(super) fn forget_password_change(connection: &mut AnyConnection, user: Id) -> QueryResult<()> {
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
pub(super) fn record_password_change(
    connection: &mut AnyConnection,
    id: Id,
    now: Timestamp,
) -> QueryResult<()> {
    let live = sessions::table.filter(sessions::id.eq(id)).filter(sessions::revoked_at.is_null());
    diesel::update(live).set(sessions::changed_password_at.eq(now)).execute(connection).map(drop)
}

pub(super) fn erase_devices(connection: &mut AnyConnection, user: Id) -> QueryResult<()> {
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

/// Deletes sessions that were revoked, or reached their absolute timeout, before then.
pub(super) fn delete_old(
    connection: &mut AnyConnection,
    before: Timestamp,
    limit: i64,
) -> QueryResult<usize> {
    let revoked: Vec<Id> = sessions::table
        .filter(sessions::revoked_at.lt(before))
        .select(sessions::id)
        .limit(limit)
        .load(connection)?;
    let over: Vec<Id> = sessions::table
        .filter(sessions::ends_at.lt(before))
        .select(sessions::id)
        .limit(limit)
        .load(connection)?;
    let old = revoked.iter().chain(&over);
    diesel::delete(sessions::table.filter(sessions::id.eq_any(old))).execute(connection)?;
    Ok(revoked.len() + over.len())
}

/// Deletes sessions of a user in any state.
pub(super) fn delete_of(
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
