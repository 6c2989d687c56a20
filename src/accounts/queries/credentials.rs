//! Credentials: read for a login, and written on condition that they are unchanged since.

use diesel::prelude::*;

use super::{
    Roles, factors, has_client, incremented_version, open_account, unchanged_since_read,
    with_email_keys,
};
use crate::accounts::EmailKeys;
use crate::clock::Timestamp;
use crate::database::schema::users;
use crate::database::{AnyConnection, Id};
use crate::passwords::PasswordHash;

/// The credentials of an account and the state that a login depends on.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = users)]
pub(in crate::accounts) struct Credentials {
    pub id: Id,
    pub email: String,
    pub email_key: String,
    #[diesel(column_name = password_hash, deserialize_as = String)]
    pub hash: PasswordHash,
    pub email_verified_at: Option<Timestamp>,
    #[diesel(deserialize_as = Roles)]
    pub roles: Vec<String>,
    pub claims: Option<String>,
    /// Set while an invited account has no password.
    pub invited_until: Option<Timestamp>,
    pub disabled_at: Option<Timestamp>,
    pub last_login_at: Option<Timestamp>,
    /// A unit of work compares it to know that the rest is unchanged since it was read.
    #[diesel(column_name = credentials_version)]
    pub version: i64,
    pub totp_secret: Option<Vec<u8>>,
    pub totp_last_step: Option<i64>,
    pub recovery_codes: Option<Vec<u8>>,
}

pub(in crate::accounts) fn credentials(
    connection: &mut AnyConnection,
    keys: &EmailKeys,
) -> QueryResult<Option<Credentials>> {
    let found = with_email_keys(keys).select(Credentials::as_select()).load(connection)?;
    Ok(keys.pick(found, |found| &found.email_key))
}

pub(in crate::accounts) fn credentials_by_id(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<Credentials>> {
    open_account(id).select(Credentials::as_select()).get_result(connection).optional()
}

/// Records a login, stores the password's upgraded hash if there is one, and uses up the code of
/// this step if there is one, provided that the account is open, enabled and unchanged since it was
/// read, its client was not removed, and no code of the step was accepted before. An upgraded hash
/// is of the same password, so the version stays.
pub(in crate::accounts) fn record_login(
    connection: &mut AnyConnection,
    verified: &Credentials,
    client_id: &str,
    upgraded: Option<&PasswordHash>,
    step: Option<i64>,
    now: Timestamp,
) -> QueryResult<bool> {
    let hash = upgraded.map(|hash| users::password_hash.eq(hash.as_str()));
    let has_client = has_client(client_id.to_owned());
    let is_unused = factors::is_unused_step(step.unwrap_or(i64::MAX));
    diesel::update(unchanged_since_read(verified).filter(has_client).filter(is_unused))
        .set((users::last_login_at.eq(now), hash, step.map(factors::accepted_step)))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Stores the upgraded hash of a right password, provided that the account is unchanged since it
/// was read.
pub(in crate::accounts) fn upgrade_hash(
    connection: &mut AnyConnection,
    verified: &Credentials,
    upgraded: &PasswordHash,
) -> QueryResult<()> {
    diesel::update(unchanged_since_read(verified))
        .set(users::password_hash.eq(upgraded.as_str()))
        .execute(connection)
        .map(drop)
}

/// Sets a new password, provided that the account is unchanged since it was read.
pub(in crate::accounts) fn set_password(
    connection: &mut AnyConnection,
    verified: &Credentials,
    hash: &PasswordHash,
    now: Timestamp,
) -> QueryResult<bool> {
    diesel::update(unchanged_since_read(verified))
        .set((
            users::password_hash.eq(hash.as_str()),
            users::password_changed_at.eq(now),
            incremented_version(),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}
