//! Statements of the operations that a mailbox proves.

use diesel::prelude::*;

use super::{
    Credentials, has_client, incremented_version, open_account, unchanged_since_read,
    with_email_keys,
};
use crate::accounts::{Email, EmailKeys};
use crate::clients::BUILT_IN;
use crate::clock::Timestamp;
use crate::database::schema::users;
use crate::database::{AnyConnection, Id};
use crate::passwords::PasswordHash;

/// Sets the password of an account that is unchanged since it was read, and records that its
/// address is proven and, for a session of this client, the login.
pub(in crate::accounts) fn reset_password(
    connection: &mut AnyConnection,
    read: &Credentials,
    client_id: Option<&str>,
    hash: &PasswordHash,
    now: Timestamp,
) -> QueryResult<bool> {
    let login = client_id.map(|_| users::last_login_at.eq(now));
    let client_id = client_id.unwrap_or(BUILT_IN).to_owned();
    diesel::update(unchanged_since_read(read).filter(has_client(client_id)))
        .set((
            login,
            users::password_hash.eq(hash.as_str()),
            users::password_changed_at.eq(now),
            users::email_verified_at.eq(now),
            users::invited_until.eq(None::<i64>),
            incremented_version(),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Sets the proven address of an account that is unchanged since it was read, and its owner's
/// language if it is known.
pub(in crate::accounts) fn set_address(
    connection: &mut AnyConnection,
    read: &Credentials,
    email: &Email,
    locale: Option<&str>,
    now: Timestamp,
) -> QueryResult<bool> {
    diesel::update(unchanged_since_read(read))
        .set((
            locale.map(|locale| users::locale.eq(locale)),
            users::email.eq(email.as_str()),
            users::email_key.eq(email.key()),
            users::email_verified_at.eq(now),
            incremented_version(),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Sets an unproven address unconditionally.
pub(in crate::accounts) fn replace_address(
    connection: &mut AnyConnection,
    id: Id,
    email: &Email,
) -> QueryResult<bool> {
    diesel::update(open_account(id))
        .set((
            users::email.eq(email.as_str()),
            users::email_key.eq(email.key()),
            users::email_verified_at.eq(None::<i64>),
            incremented_version(),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// The columns of an account that its mail needs: id, address, version, language, until when it is
/// invited, and when it was disabled.
pub(in crate::accounts) type RecipientColumns =
    (Id, String, i64, Option<String>, Option<Timestamp>, Option<Timestamp>);

pub(in crate::accounts) fn recipient(
    connection: &mut AnyConnection,
    keys: &EmailKeys,
) -> QueryResult<Option<RecipientColumns>> {
    let columns = (
        users::id,
        users::email,
        users::credentials_version,
        users::locale,
        users::invited_until,
        users::disabled_at,
    );
    let rows: Vec<(String, RecipientColumns)> =
        with_email_keys(keys).select((users::email_key, columns)).load(connection)?;
    Ok(keys.pick(rows, |(key, _)| key).map(|(_, columns)| columns))
}

/// Raises the version of every account, after a backup was restored: this ends the
/// links that were mailed before, and the logins that have read the account already.
pub(in crate::accounts) fn raise_every_version(
    connection: &mut AnyConnection,
) -> QueryResult<usize> {
    diesel::update(users::table).set(incremented_version()).execute(connection)
}
