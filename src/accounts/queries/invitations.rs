//! Invited accounts: those without a password.

use diesel::prelude::*;

use super::{incremented_version, open_account};
use crate::clock::Timestamp;
use crate::database::schema::users;
use crate::database::{AnyConnection, Id};
use crate::mail::operators::MailAccount;

/// Records that a new account has no password, and until when it may be given one.
pub(in crate::accounts) fn mark_invited(
    connection: &mut AnyConnection,
    id: Id,
    until: Timestamp,
) -> QueryResult<()> {
    diesel::update(open_account(id))
        .set((users::invited_until.eq(until), users::version.eq(users::version + 1_i64)))
        .execute(connection)
        .map(drop)
}

/// Locks an account to which an operator sends a message, if it is enabled: such messages are
/// counted one after the other.
pub(in crate::accounts) fn lock_mail_account(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<MailAccount>> {
    type Columns = (String, String, i64, Option<String>, Option<Timestamp>);
    let columns = (
        users::email,
        users::email_key,
        users::credentials_version,
        users::locale,
        users::invited_until,
    );
    let row: Option<Columns> =
        diesel::update(open_account(id).filter(users::disabled_at.is_null()))
            .set(users::version.eq(users::version))
            .returning(columns)
            .get_result(connection)
            .optional()?;
    Ok(row.map(|(email, email_key, version, locale, invited_until)| MailAccount {
        user: id,
        email,
        email_key,
        version,
        locale,
        invited_until,
    }))
}

/// Ids of accounts whose invitation has expired, in an order: two nodes that close the same
/// accounts lock them one after the other.
pub(in crate::accounts) fn expired_invitations(
    connection: &mut AnyConnection,
    now: Timestamp,
    limit: i64,
) -> QueryResult<Vec<Id>> {
    users::table
        .filter(users::invited_until.le(now))
        .filter(users::closed_at.is_null())
        .order(users::id)
        .select(users::id)
        .limit(limit)
        .load(connection)
}

/// Locks an account whose invitation has expired; false when it was accepted meanwhile.
pub(in crate::accounts) fn lock_expired_invitation(
    connection: &mut AnyConnection,
    id: Id,
    now: Timestamp,
) -> QueryResult<bool> {
    diesel::update(open_account(id).filter(users::invited_until.le(now)))
        .set(incremented_version())
        .execute(connection)
        .map(|rows| rows == 1)
}
