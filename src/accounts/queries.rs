//! The users table: every statement that writes it.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql};
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use serde::Serialize;
use uuid::Uuid;

use super::Email;
use crate::clients::BUILT_IN;
use crate::clock::Timestamp;
use crate::database::schema::{clients, sessions, users};
use crate::database::{AnyConnection, Id};
use crate::passwords::PasswordHash;

/// Closed accounts that one unit of work of a purge deletes.
const PURGE_BATCH: i64 = 200;

/// An account as its owner sees it.
#[derive(Clone, Debug, Queryable, Selectable, Serialize)]
#[diesel(table_name = users)]
pub struct Account {
    /// Its id, the `sub` of its tokens.
    pub id: Id,
    /// The address as entered.
    pub email: String,
    /// The account's roles, for services to interpret.
    #[diesel(deserialize_as = Roles)]
    pub roles: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its password was last set.
    pub password_changed_at: Timestamp,
}

/// An account as an operator sees it.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = users)]
pub struct AccountDetails {
    /// Its id.
    pub id: Id,
    /// The address as entered.
    pub email: String,
    /// The account's roles.
    #[diesel(deserialize_as = Roles)]
    pub roles: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its password was last set.
    pub password_changed_at: Timestamp,
    /// The last login with the password.
    pub last_login_at: Option<Timestamp>,
    /// Since when logins are rejected.
    pub disabled_at: Option<Timestamp>,
}

/// The credentials of an account and the state that a login depends on.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = users)]
pub(super) struct Credentials {
    pub id: Id,
    pub email: String,
    pub email_key: String,
    #[diesel(column_name = password_hash, deserialize_as = String)]
    pub hash: PasswordHash,
    #[diesel(deserialize_as = Roles)]
    pub roles: Vec<String>,
    pub disabled_at: Option<Timestamp>,
    /// A unit of work compares it to know that the rest is unchanged since it was read.
    #[diesel(column_name = credentials_version)]
    pub version: i64,
}

/// Roles are stored in one column, separated by spaces.
#[derive(Debug)]
pub struct Roles(String);

impl<DB: Backend> Queryable<Text, DB> for Roles
where
    String: FromSql<Text, DB>,
{
    type Row = String;

    fn build(column: String) -> deserialize::Result<Self> {
        Ok(Self(column))
    }
}

impl From<Roles> for Vec<String> {
    fn from(Roles(column): Roles) -> Self {
        column.split_whitespace().map(str::to_owned).collect()
    }
}

impl From<String> for PasswordHash {
    fn from(column: String) -> Self {
        Self::from_stored(column)
    }
}

/// Inserts an account; `None` when the address is taken.
pub(super) fn insert(
    connection: &mut AnyConnection,
    email: &Email,
    hash: &PasswordHash,
    now: Timestamp,
) -> QueryResult<Option<Account>> {
    let id = Id::new(now);
    let row = (
        users::id.eq(id),
        users::email.eq(email.as_str()),
        users::email_key.eq(email.key()),
        users::password_hash.eq(hash.as_str()),
        users::created_at.eq(now),
        users::password_changed_at.eq(now),
    );
    // `on_conflict` does not exist for both databases at once.
    let inserted = match connection {
        AnyConnection::Sqlite(c) => {
            diesel::insert_into(users::table).values(row).on_conflict_do_nothing().execute(c)
        }
        AnyConnection::Postgres(c) => {
            diesel::insert_into(users::table).values(row).on_conflict_do_nothing().execute(c)
        }
    }?;
    Ok((inserted == 1).then(|| Account {
        id,
        email: email.to_string(),
        roles: Vec::new(),
        created_at: now,
        password_changed_at: now,
    }))
}

pub(super) fn account(connection: &mut AnyConnection, id: Id) -> QueryResult<Option<Account>> {
    open_account(id).select(Account::as_select()).get_result(connection).optional()
}

pub(super) fn credentials(
    connection: &mut AnyConnection,
    email_key: &str,
) -> QueryResult<Option<Credentials>> {
    users::table
        .filter(users::email_key.eq(email_key))
        .filter(users::closed_at.is_null())
        .select(Credentials::as_select())
        .get_result(connection)
        .optional()
}

pub(super) fn credentials_by_id(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<Credentials>> {
    open_account(id).select(Credentials::as_select()).get_result(connection).optional()
}

/// Notes a login, and stores the password's better hash if there is one, provided that the account is
/// as it was read and in good standing, and its client was not removed. A better hash is no other
/// password: the version stays.
pub(super) fn record_login(
    connection: &mut AnyConnection,
    verified: &Credentials,
    client_id: &str,
    upgraded: Option<&PasswordHash>,
    now: Timestamp,
) -> QueryResult<bool> {
    let hash = upgraded.map(|hash| users::password_hash.eq(hash.as_str()));
    let is_built_in = (client_id == BUILT_IN).into_sql::<Bool>();
    let has_client = exists(clients::table.find(client_id)).or(is_built_in);
    diesel::update(unchanged_since_read(verified).filter(has_client))
        .set((users::last_login_at.eq(now), hash))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Sets a new password, on the same condition.
pub(super) fn set_password(
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

/// Clears the row of a closed account, on the same condition. The row itself stays as long as its
/// sessions are stored; its address is free at once.
pub(super) fn close(
    connection: &mut AnyConnection,
    verified: &Credentials,
    now: Timestamp,
) -> QueryResult<bool> {
    diesel::update(unchanged_since_read(verified))
        .set(erased(verified.id, now))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// The same unconditionally, to delete an account.
pub(super) fn close_any_version(
    connection: &mut AnyConnection,
    id: Id,
    now: Timestamp,
) -> QueryResult<bool> {
    diesel::update(open_account(id)).set(erased(id, now)).execute(connection).map(|rows| rows == 1)
}

#[diesel::dsl::auto_type]
fn erased(id: Id, now: Timestamp) -> _ {
    // No address contains a space.
    let key: String = format!("closed {id}");
    let at: i64 = now.as_micros();
    (
        users::email.eq(""),
        users::email_key.eq(key),
        users::password_hash.eq(""),
        users::roles.eq(""),
        users::closed_at.eq(at),
        incremented_version(),
    )
}

/// Deletes the row of a closed account without sessions.
pub(super) fn delete(connection: &mut AnyConnection, id: Id) -> QueryResult<bool> {
    let closed = users::table.filter(users::id.eq(id)).filter(users::closed_at.is_not_null());
    diesel::delete(closed).execute(connection).map(|rows| rows == 1)
}

/// A page of the accounts that are not closed, ordered by id, which begins with the time.
pub(super) fn list_details(
    connection: &mut AnyConnection,
    after: Option<Id>,
    limit: u32,
) -> QueryResult<Vec<AccountDetails>> {
    let after = after.unwrap_or_else(|| Uuid::nil().into());
    users::table
        .filter(users::closed_at.is_null())
        .filter(users::id.gt(after))
        .order(users::id)
        .limit(limit.into())
        .select(AccountDetails::as_select())
        .load(connection)
}

/// The password hashes of some accounts that are not closed, by their ids.
pub(super) fn password_hashes(
    connection: &mut AnyConnection,
    after: Option<Id>,
    limit: u32,
) -> QueryResult<Vec<(Id, PasswordHash)>> {
    let after = after.unwrap_or_else(|| Uuid::nil().into());
    let rows: Vec<(Id, String)> = users::table
        .filter(users::closed_at.is_null())
        .filter(users::id.gt(after))
        .order(users::id)
        .limit(limit.into())
        .select((users::id, users::password_hash))
        .load(connection)?;
    Ok(rows.into_iter().map(|(id, hash)| (id, PasswordHash::from_stored(hash))).collect())
}

pub(super) fn find_details(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<AccountDetails>> {
    open_account(id).select(AccountDetails::as_select()).get_result(connection).optional()
}

pub(super) fn find_details_by_email_key(
    connection: &mut AnyConnection,
    email_key: &str,
) -> QueryResult<Option<AccountDetails>> {
    users::table
        .filter(users::email_key.eq(email_key))
        .filter(users::closed_at.is_null())
        .select(AccountDetails::as_select())
        .get_result(connection)
        .optional()
}

/// The id of the account with this address.
pub(super) fn find_id(connection: &mut AnyConnection, email: &Email) -> QueryResult<Option<Id>> {
    let own = users::table.filter(users::email_key.eq(email.key()));
    own.select(users::id).get_result(connection).optional()
}

pub(super) fn enable(connection: &mut AnyConnection, id: Id) -> QueryResult<bool> {
    let disabled = open_account(id).filter(users::disabled_at.is_not_null());
    let nothing = None::<i64>;
    diesel::update(disabled)
        .set((users::disabled_at.eq(nothing), incremented_version()))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Sets a new password unconditionally.
pub(super) fn replace_password(
    connection: &mut AnyConnection,
    id: Id,
    hash: &PasswordHash,
    now: Timestamp,
) -> QueryResult<bool> {
    diesel::update(open_account(id))
        .set((
            users::password_hash.eq(hash.as_str()),
            users::password_changed_at.eq(now),
            incremented_version(),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

pub(super) fn disable(connection: &mut AnyConnection, id: Id, now: Timestamp) -> QueryResult<bool> {
    diesel::update(open_account(id).filter(users::disabled_at.is_null()))
        .set((users::disabled_at.eq(now), incremented_version()))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// The number of open accounts.
pub(super) fn count(connection: &mut AnyConnection) -> QueryResult<i64> {
    users::table.filter(users::closed_at.is_null()).count().get_result(connection)
}

/// Deletes closed accounts without sessions.
pub(super) fn delete_closed(connection: &mut AnyConnection) -> QueryResult<usize> {
    let remembered = sessions::table.filter(sessions::user_id.eq(users::id));
    let forgotten: Vec<Id> = users::table
        .filter(users::closed_at.is_not_null())
        .filter(diesel::dsl::not(exists(remembered)))
        .select(users::id)
        .limit(PURGE_BATCH)
        .load(connection)?;
    diesel::delete(users::table.filter(users::id.eq_any(&forgotten))).execute(connection)?;
    Ok(forgotten.len())
}

/// Every statement that changes credentials or the state of an account raises its version and comes
/// first in its unit of work: it locks the row, which a read does not.
#[diesel::dsl::auto_type]
fn incremented_version() -> _ {
    users::credentials_version.eq(users::credentials_version + 1_i64)
}

#[diesel::dsl::auto_type]
fn unchanged_since_read(verified: &Credentials) -> _ {
    let (id, version): (Id, i64) = (verified.id, verified.version);
    users::table
        .filter(users::id.eq(id))
        .filter(users::credentials_version.eq(version))
        .filter(users::disabled_at.is_null())
        .filter(users::closed_at.is_null())
}

#[diesel::dsl::auto_type]
fn open_account(id: Id) -> _ {
    users::table.filter(users::id.eq(id)).filter(users::closed_at.is_null())
}
