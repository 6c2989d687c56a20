//! Accounts whose e-mail key may be a former one.

use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::Text;
use uuid::Uuid;

use crate::database::schema::users;
use crate::database::{AnyConnection, Id};

/// Accounts that are read at once.
const BATCH: i64 = 500;

diesel::define_sql_function! {
    /// The length in bytes.
    fn octet_length(text: Text) -> BigInt;
}

diesel::define_sql_function! {
    /// The length in characters.
    fn length(text: Text) -> BigInt;
}

/// The address and the stored key of an account.
#[derive(Debug, Queryable)]
pub(in crate::accounts) struct KeyRow {
    pub id: Id,
    pub email: String,
    pub email_key: String,
}

/// Whether a key has characters beyond ASCII, as every former key that differs from the canonical
/// one has. One statement, which an index of keys answers without reading the accounts.
pub(in crate::accounts) fn has_non_ascii(connection: &mut AnyConnection) -> QueryResult<bool> {
    let keys = users::table.filter(octet_length(users::email_key).gt(length(users::email_key)));
    diesel::select(exists(keys.select(users::email_key))).get_result(connection)
}

/// A batch of the accounts with such a key that are not closed, by id, which begins with the time.
pub(in crate::accounts) fn non_ascii(
    connection: &mut AnyConnection,
    after: Option<Id>,
) -> QueryResult<Vec<KeyRow>> {
    let after = after.unwrap_or_else(|| Uuid::nil().into());
    users::table
        .filter(users::closed_at.is_null())
        .filter(users::id.gt(after))
        .filter(octet_length(users::email_key).gt(length(users::email_key)))
        .order(users::id)
        .limit(BATCH)
        .select((users::id, users::email, users::email_key))
        .load(connection)
}

/// Whether an account has this key.
pub(in crate::accounts) fn is_taken(
    connection: &mut AnyConnection,
    key: &str,
) -> QueryResult<bool> {
    diesel::select(exists(users::table.filter(users::email_key.eq(key)))).get_result(connection)
}

/// Stores another key; false when the account has changed since it was read.
pub(in crate::accounts) fn set_key(
    connection: &mut AnyConnection,
    row: &KeyRow,
    key: &str,
) -> QueryResult<bool> {
    let as_read =
        users::table.filter(users::id.eq(row.id)).filter(users::email_key.eq(&row.email_key));
    diesel::update(as_read).set(users::email_key.eq(key)).execute(connection).map(|rows| rows == 1)
}
