//! Roles and custom claims.

use diesel::prelude::*;
use uuid::Uuid;

use super::{incremented_version, open_account};
use crate::clock::Timestamp;
use crate::database::schema::users;
use crate::database::{AnyConnection, Id};

/// An account whose row is locked.
#[derive(Queryable)]
pub(in crate::accounts) struct LockedAccount {
    pub email: String,
    pub email_verified_at: Option<Timestamp>,
    pub roles: String,
    pub claims: Option<String>,
    pub version: i64,
}

/// Locks an account's row and changes nothing.
pub(in crate::accounts) fn lock_account(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<LockedAccount>> {
    diesel::update(open_account(id))
        .set(users::version.eq(users::version))
        .returning((
            users::email,
            users::email_verified_at,
            users::roles,
            users::claims,
            users::version,
        ))
        .get_result(connection)
        .optional()
}

/// Stores roles and custom claims of a locked account. A concurrent login that has read the others
/// starts no session.
pub(in crate::accounts) fn set_grants(
    connection: &mut AnyConnection,
    id: Id,
    roles: &str,
    claims: Option<&str>,
) -> QueryResult<()> {
    diesel::update(open_account(id))
        .set((users::roles.eq(roles), users::claims.eq(claims), incremented_version()))
        .execute(connection)
        .map(drop)
}

/// A page of the accounts that have roles or custom claims.
pub(in crate::accounts) fn list_grants(
    connection: &mut AnyConnection,
    after: Option<Id>,
    limit: u32,
) -> QueryResult<Vec<(Id, String, Option<String>)>> {
    users::table
        // As the partial index has it.
        .filter(users::roles.ne("").or(users::claims.is_not_null()))
        .filter(users::id.gt(after.unwrap_or_else(|| Uuid::nil().into())))
        .order(users::id)
        .limit(limit.into())
        .select((users::id, users::roles, users::claims))
        .load(connection)
}
