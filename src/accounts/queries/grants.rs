//! Roles and custom claims.

use diesel::prelude::*;
use uuid::Uuid;

use super::open_account;
use crate::database::schema::users;
use crate::database::{AnyConnection, Id};

/// The columns of roles and custom claims.
pub(in crate::accounts) type GrantColumns = (String, Option<String>);

/// The roles and custom claims of an account, whose row is locked and whose version is raised: a
/// concurrent login that has read it starts no session.
pub(in crate::accounts) fn lock_grants(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<GrantColumns>> {
    diesel::update(open_account(id))
        .set(users::credentials_version.eq(users::credentials_version + 1_i64))
        .returning((users::roles, users::claims))
        .get_result(connection)
        .optional()
}

/// Stores roles and custom claims of a locked account.
pub(in crate::accounts) fn set_grants(
    connection: &mut AnyConnection,
    id: Id,
    roles: &str,
    claims: Option<&str>,
) -> QueryResult<()> {
    diesel::update(open_account(id))
        .set((users::roles.eq(roles), users::claims.eq(claims)))
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
