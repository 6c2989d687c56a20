//! Accounts as operators list and change them.

use diesel::prelude::*;
use uuid::Uuid;

use super::{Factors, IsPresent, Roles, incremented_version, open_account, with_email_keys};
use crate::accounts::admin::AccountFilter;
use crate::accounts::{Email, EmailKeys};
use crate::clock::Timestamp;
use crate::database::schema::users;
use crate::database::{AnyConnection, Id};
use crate::passwords::PasswordHash;

/// An account as an operator sees it.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = users)]
pub struct AccountDetails {
    /// Its id.
    pub id: Id,
    /// The address as entered.
    pub email: String,
    /// Whether the address is proven.
    #[diesel(column_name = email_verified_at, deserialize_as = IsPresent)]
    pub email_verified: bool,
    /// Until when it accepts its invitation; `None` when it has a password.
    pub invited_until: Option<Timestamp>,
    /// The account's roles.
    #[diesel(deserialize_as = Roles)]
    pub roles: Vec<String>,
    /// The account's custom claims: a JSON object.
    pub claims: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its password was last set.
    pub password_changed_at: Timestamp,
    /// The last login with the password.
    pub last_login_at: Option<Timestamp>,
    /// Since when logins are rejected.
    pub disabled_at: Option<Timestamp>,
    /// Its second factors: `totp`, or none.
    #[diesel(column_name = totp_secret, deserialize_as = Factors)]
    pub factors: Vec<&'static str>,
    /// A number that rises with every change except a login.
    pub version: i64,
}

impl AccountDetails {
    /// Whether it has no password yet.
    #[must_use]
    pub const fn is_invited(&self) -> bool {
        self.invited_until.is_some()
    }
}

/// A page of the accounts that are not closed, ordered by id, which begins with the time, and one
/// more if there are further ones.
pub(in crate::accounts) fn search(
    connection: &mut AnyConnection,
    wanted: &AccountFilter,
) -> QueryResult<Vec<AccountDetails>> {
    if let Some(email) = &wanted.email {
        let found = find_details_by_email_keys(connection, &Email::keys_of(email))?;
        let fits = |found: &AccountDetails| {
            wanted.after.is_none_or(|after| found.id > after)
                && wanted.disabled.is_none_or(|disabled| found.disabled_at.is_some() == disabled)
        };
        return Ok(found.into_iter().filter(fits).collect());
    }
    let mut query = users::table
        .filter(users::closed_at.is_null())
        .order(users::id)
        .limit(i64::from(wanted.limit) + 1)
        .select(AccountDetails::as_select())
        .into_boxed();
    if let Some(after) = wanted.after {
        query = query.filter(users::id.gt(after));
    }
    match wanted.disabled {
        Some(true) => query = query.filter(users::disabled_at.is_not_null()),
        Some(false) => query = query.filter(users::disabled_at.is_null()),
        None => {}
    }
    query.load(connection)
}

pub(in crate::accounts) fn find_details(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<AccountDetails>> {
    open_account(id).select(AccountDetails::as_select()).get_result(connection).optional()
}

pub(in crate::accounts) fn find_details_by_email_keys(
    connection: &mut AnyConnection,
    keys: &EmailKeys,
) -> QueryResult<Option<AccountDetails>> {
    let rows: Vec<(String, AccountDetails)> = with_email_keys(keys)
        .select((users::email_key, AccountDetails::as_select()))
        .load(connection)?;
    Ok(keys.pick(rows, |(key, _)| key).map(|(_, details)| details))
}

/// The password hashes of some accounts that are not closed, by their ids.
pub(in crate::accounts) fn password_hashes(
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

pub(in crate::accounts) fn enable(connection: &mut AnyConnection, id: Id) -> QueryResult<bool> {
    let disabled = open_account(id).filter(users::disabled_at.is_not_null());
    let nothing = None::<i64>;
    diesel::update(disabled)
        .set((users::disabled_at.eq(nothing), incremented_version()))
        .execute(connection)
        .map(|rows| rows == 1)
}

pub(in crate::accounts) fn disable(
    connection: &mut AnyConnection,
    id: Id,
    now: Timestamp,
) -> QueryResult<bool> {
    diesel::update(open_account(id).filter(users::disabled_at.is_null()))
        .set((users::disabled_at.eq(now), incremented_version()))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Sets a new password unconditionally.
pub(in crate::accounts) fn replace_password(
    connection: &mut AnyConnection,
    id: Id,
    hash: &PasswordHash,
    now: Timestamp,
) -> QueryResult<bool> {
    diesel::update(open_account(id))
        .set((
            users::password_hash.eq(hash.as_str()),
            users::password_changed_at.eq(now),
            users::invited_until.eq(None::<i64>),
            incremented_version(),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Records that the address is proven.
pub(in crate::accounts) fn mark_verified(
    connection: &mut AnyConnection,
    id: Id,
    now: Timestamp,
) -> QueryResult<()> {
    diesel::update(open_account(id))
        .set((users::email_verified_at.eq(now), users::version.eq(users::version + 1_i64)))
        .execute(connection)
        .map(drop)
}
