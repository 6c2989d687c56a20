//! The users table: every statement that writes it.

mod admin;
mod close;
mod credentials;
pub(super) mod email_keys;
pub(super) mod factors;
mod grants;
mod invitations;
pub(super) mod mail;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql};
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};
use serde::Serialize;

use super::{Email, EmailKeys};
use crate::clients::BUILT_IN;
use crate::clock::Timestamp;
use crate::database::schema::{clients, users};
use crate::database::{AnyConnection, Id};
use crate::factors::{FactorKind, recovery_codes};
use crate::passwords::PasswordHash;

pub use admin::AccountDetails;
pub(super) use admin::{
    disable, enable, find_details, find_details_by_email_keys, mark_verified, password_hashes,
    replace_password, search,
};
pub(super) use close::{close, close_any_version, delete, delete_closed};
pub(super) use credentials::{
    Credentials, credentials, credentials_by_id, record_login, set_password, upgrade_hash,
};
pub(super) use grants::{LockedAccount, list_grants, lock_account, set_grants};
pub(super) use invitations::{
    expired_invitations, lock_expired_invitation, lock_mail_account, mark_invited,
};

/// An account as its owner sees it.
#[derive(Clone, Debug, Queryable, Selectable, Serialize)]
#[diesel(table_name = users)]
pub struct Account {
    /// Its id, the `sub` of its tokens.
    pub id: Id,
    /// The address as entered.
    pub email: String,
    /// Whether a mailed link or code has proven the address.
    #[diesel(column_name = email_verified_at, deserialize_as = IsPresent)]
    pub email_verified: bool,
    /// The account's roles, for services to interpret.
    #[diesel(deserialize_as = Roles)]
    pub roles: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its password was last set.
    pub password_changed_at: Timestamp,
    /// Its second factors: `totp`, or none.
    #[diesel(column_name = totp_secret, deserialize_as = Factors)]
    pub factors: Vec<&'static str>,
    /// Its unused recovery codes.
    #[diesel(column_name = recovery_codes, deserialize_as = CodesLeft)]
    pub recovery_codes_left: usize,
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

/// The second factors of an account, by the presence of its sealed secret.
#[derive(Debug)]
pub struct Factors(bool);

impl<DB: Backend> Queryable<Nullable<Binary>, DB> for Factors
where
    Option<Vec<u8>>: FromSql<Nullable<Binary>, DB>,
{
    type Row = Option<Vec<u8>>;

    fn build(column: Option<Vec<u8>>) -> deserialize::Result<Self> {
        Ok(Self(column.is_some()))
    }
}

impl From<Factors> for Vec<&'static str> {
    fn from(Factors(has_totp): Factors) -> Self {
        has_totp.then_some(FactorKind::Totp.as_str()).into_iter().collect()
    }
}

/// The number of recovery codes in their column.
#[derive(Debug)]
pub struct CodesLeft(usize);

impl<DB: Backend> Queryable<Nullable<Binary>, DB> for CodesLeft
where
    Option<Vec<u8>>: FromSql<Nullable<Binary>, DB>,
{
    type Row = Option<Vec<u8>>;

    fn build(column: Option<Vec<u8>>) -> deserialize::Result<Self> {
        Ok(Self(column.map_or(0, |digests| recovery_codes::count(&digests))))
    }
}

impl From<CodesLeft> for usize {
    fn from(CodesLeft(count): CodesLeft) -> Self {
        count
    }
}

/// Whether a moment is stored.
#[derive(Debug)]
pub struct IsPresent(bool);

impl<DB: Backend> Queryable<Nullable<BigInt>, DB> for IsPresent
where
    Option<i64>: FromSql<Nullable<BigInt>, DB>,
{
    type Row = Option<i64>;

    fn build(column: Option<i64>) -> deserialize::Result<Self> {
        Ok(Self(column.is_some()))
    }
}

impl From<IsPresent> for bool {
    fn from(IsPresent(is_present): IsPresent) -> Self {
        is_present
    }
}

impl From<String> for PasswordHash {
    fn from(column: String) -> Self {
        Self::from_stored(column)
    }
}

/// The proof of a new account's address.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressProof<'a> {
    /// The language of the message that proved it.
    pub locale: Option<&'a str>,
}

/// Inserts an account; `None` when the address is taken.
pub(super) fn insert(
    connection: &mut AnyConnection,
    email: &Email,
    hash: &PasswordHash,
    proof: Option<AddressProof<'_>>,
    now: Timestamp,
) -> QueryResult<Option<Account>> {
    // An account may still have the former key, which no constraint compares.
    if Email::keys_of(email.as_str()).are_different() && find_id(connection, email)?.is_some() {
        return Ok(None);
    }
    let id = Id::new(now);
    let row = (
        users::id.eq(id),
        users::email.eq(email.as_str()),
        users::email_key.eq(email.key()),
        users::password_hash.eq(hash.as_str()),
        users::created_at.eq(now),
        users::password_changed_at.eq(now),
        users::email_verified_at.eq(proof.map(|_| now.as_micros())),
        users::locale.eq(proof.and_then(|proof| proof.locale)),
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
        email_verified: proof.is_some(),
        roles: Vec::new(),
        created_at: now,
        password_changed_at: now,
        factors: Vec::new(),
        recovery_codes_left: 0,
    }))
}

pub(super) fn account(connection: &mut AnyConnection, id: Id) -> QueryResult<Option<Account>> {
    open_account(id).select(Account::as_select()).get_result(connection).optional()
}

/// The id of the account with this address.
pub(super) fn find_id(connection: &mut AnyConnection, email: &Email) -> QueryResult<Option<Id>> {
    let keys = Email::keys_of(email.as_str());
    let rows: Vec<(String, Id)> =
        with_email_keys(&keys).select((users::email_key, users::id)).load(connection)?;
    Ok(keys.pick(rows, |(key, _)| key).map(|(_, id)| id))
}

/// The number of open accounts.
pub(super) fn count(connection: &mut AnyConnection) -> QueryResult<i64> {
    users::table.filter(users::closed_at.is_null()).count().get_result(connection)
}

/// Every statement that changes credentials or the state of an account raises its version and comes
/// first in its unit of work: it locks the row, which a read does not. It also raises the version
/// that operators compare.
#[diesel::dsl::auto_type]
fn incremented_version() -> _ {
    (
        users::credentials_version.eq(users::credentials_version + 1_i64),
        users::version.eq(users::version + 1_i64),
    )
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

/// The open accounts with either key of an address: one, or two whose addresses differ in spelling.
#[diesel::dsl::auto_type]
fn with_email_keys(keys: &EmailKeys) -> _ {
    let (former, canonical): (String, String) = (keys.former.clone(), keys.canonical.clone());
    users::table
        .filter(users::email_key.eq(former).or(users::email_key.eq(canonical)))
        .filter(users::closed_at.is_null())
}

/// Whether the client was not removed.
#[diesel::dsl::auto_type]
fn has_client(client_id: String) -> _ {
    let is_built_in: bool = client_id == BUILT_IN;
    exists(clients::table.filter(clients::id.eq(client_id))).or(is_built_in.into_sql::<Bool>())
}

#[diesel::dsl::auto_type]
fn open_account(id: Id) -> _ {
    users::table.filter(users::id.eq(id)).filter(users::closed_at.is_null())
}
