//! The statements of mail: on the table of mail requests, and the reads of accounts that notices
//! need. Those of the outbox are in [`outbox`], those about closed accounts in [`erasure`].

pub(super) mod erasure;
pub(super) mod eviction;
pub(super) mod outbox;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

use super::MailPurpose;
use super::decide::{RequestState, WRONG_CODES};
use super::messages::MessageKind;
use super::triage::Quota;
use crate::clock::Timestamp;
use crate::database::schema::{mail_requests as table, users};
use crate::database::{AnyConnection, Id};
use crate::secret::Secret;

pub use outbox::Backlog;

/// A request's row.
#[derive(Clone, Debug, Queryable)]
pub struct MailRequest {
    /// Its id, from which its token, link and code are computed.
    pub id: Id,
    purpose: String,
    message: Option<String>,
    /// The account, once it is known.
    pub user_id: Option<Id>,
    /// The address in the request; once a message is chosen, the address of its recipient.
    pub address: String,
    /// The key of the address in the request.
    pub address_key: String,
    /// The client's network.
    pub network: Option<String>,
    /// The session of the refresh token that the client showed.
    pub device: Option<Id>,
    #[expect(dead_code, reason = "rows are read whole; only statements use it")]
    quota: Option<String>,
    /// The password hash of a registration.
    #[diesel(deserialize_as = StoredHash)]
    pub password_hash: Option<Secret<String>>,
    /// The account's version when the message was chosen, or when the change was requested.
    pub credentials_version: Option<i64>,
    /// In a notice: how many recovery codes are left, if one was used; otherwise the user agent.
    pub detail: Option<String>,
    /// The language of the message.
    pub locale: Option<String>,
    code_attempts: i64,
    /// Attempts to hand the message over.
    pub send_attempts: i64,
    /// When the request was made.
    pub created_at: Timestamp,
    #[expect(dead_code, reason = "rows are read whole; only statements use it")]
    next_send_at: Option<Timestamp>,
    leased_until: Option<Timestamp>,
    handed_at: Option<Timestamp>,
    used_at: Option<Timestamp>,
    /// When the row is deleted.
    pub expires_at: Timestamp,
    #[expect(dead_code, reason = "rows are read whole; only statements use it")]
    outcome: Option<String>,
}

/// The stored password hash of a registration.
#[derive(Debug)]
pub struct StoredHash(Option<Secret<String>>);

impl<DB: Backend> Queryable<Nullable<Text>, DB> for StoredHash
where
    Option<String>: FromSql<Nullable<Text>, DB>,
{
    type Row = Option<String>;

    fn build(column: Option<String>) -> deserialize::Result<Self> {
        Ok(Self(column.map(Secret::new)))
    }
}

impl From<StoredHash> for Option<Secret<String>> {
    fn from(StoredHash(hash): StoredHash) -> Self {
        hash
    }
}

impl MailRequest {
    /// Its purpose. An unknown name, written by a later version, counts as a notice, which
    /// authorises nothing.
    #[must_use]
    pub fn purpose(&self) -> MailPurpose {
        MailPurpose::parse(&self.purpose).unwrap_or(MailPurpose::Notice)
    }

    /// The message that was chosen.
    #[must_use]
    pub fn message(&self) -> Option<MessageKind> {
        self.message.as_deref().and_then(MessageKind::parse)
    }

    /// The state on which [`decide`](super::decide::decide) depends.
    #[must_use]
    pub fn state(&self) -> RequestState {
        // The message that an account exists contains neither link nor code.
        let is_proof = self.message().is_some_and(MessageKind::is_proof);
        RequestState {
            purpose: self.purpose(),
            is_used: self.used_at.is_some(),
            code_attempts: u32::try_from(self.code_attempts).unwrap_or(u32::MAX),
            mailed_at: self.handed_at.or(self.leased_until).filter(|_| is_proof),
            version: self.credentials_version,
            invited_until: self.invited_until(),
        }
    }

    /// Until when an invitation is valid; `None` for other messages.
    #[must_use]
    pub fn invited_until(&self) -> Option<Timestamp> {
        (self.message() == Some(MessageKind::Invitation)).then_some(self.expires_at)
    }

    /// The domain of its recipient.
    pub(super) fn domain(&self) -> &str {
        self.address_key.rsplit('@').next().unwrap_or_default()
    }

    /// Whether it is claimed before registrations.
    pub(super) fn is_urgent(&self) -> bool {
        self.purpose != MailPurpose::Registration.as_str()
    }

    /// Whether it has been used.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        self.used_at.is_some()
    }
}

/// A new row.
#[derive(Clone, Debug)]
pub(super) struct NewRow {
    pub id: Id,
    pub purpose: MailPurpose,
    pub message: Option<MessageKind>,
    /// Why it is not sent.
    pub outcome: Option<&'static str>,
    pub quota: Option<Quota>,
    pub user_id: Option<Id>,
    pub address: String,
    pub address_key: String,
    pub network: Option<String>,
    pub device: Option<Id>,
    pub password_hash: Option<Secret<String>>,
    pub credentials_version: Option<i64>,
    pub detail: Option<String>,
    pub locale: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

pub(super) fn insert(connection: &mut AnyConnection, row: &NewRow) -> QueryResult<()> {
    let is_due = row.message.is_some() && row.outcome.is_none();
    let due = is_due.then(|| row.created_at.as_micros());
    diesel::insert_into(table::table)
        .values((
            table::id.eq(row.id),
            table::purpose.eq(row.purpose.as_str()),
            table::message.eq(row.message.map(MessageKind::as_str)),
            table::outcome.eq(row.outcome),
            table::quota.eq(row.quota.map(Quota::as_str)),
            table::user_id.eq(row.user_id),
            table::address.eq(&row.address),
            table::address_key.eq(&row.address_key),
            table::network.eq(&row.network),
            table::device.eq(row.device),
            table::password_hash.eq(row.password_hash.as_ref().map(Secret::expose)),
            table::credentials_version.eq(row.credentials_version),
            table::detail.eq(&row.detail),
            table::locale.eq(&row.locale),
            table::created_at.eq(row.created_at),
            table::next_send_at.eq(due),
            table::expires_at.eq(row.expires_at),
        ))
        .execute(connection)
        .map(drop)
}

pub(super) fn find(connection: &mut AnyConnection, id: Id) -> QueryResult<Option<MailRequest>> {
    table::table.find(id).get_result(connection).optional()
}

/// The requests for an address from one client network (and device, if it shows one) since a
/// moment: when the last but `limit` - 1 was made, or `None` if there are fewer. It ignores their
/// outcome, because it would otherwise tell whether an account exists.
pub(super) fn recent(
    connection: &mut AnyConnection,
    row: &NewRow,
    since: Timestamp,
    limit: i64,
) -> QueryResult<Option<Timestamp>> {
    let live = table::table
        .filter(table::address_key.eq(&row.address_key))
        .filter(table::purpose.eq(row.purpose.as_str()))
        .filter(table::network.eq(row.network.as_deref().unwrap_or_default()))
        .filter(table::created_at.gt(since))
        .order(table::created_at.desc())
        .select(table::created_at)
        .offset(limit - 1)
        .limit(1);
    match row.device {
        Some(device) => live.filter(table::device.eq(device)).get_result(connection),
        None => live.filter(table::device.is_null()).get_result(connection),
    }
    .optional()
}

/// The requests of an account since a moment: when the last but `limit` - 1 was made, or `None` if
/// there are fewer.
pub(super) fn recent_of(
    connection: &mut AnyConnection,
    user: Id,
    purpose: MailPurpose,
    since: Timestamp,
    limit: i64,
) -> QueryResult<Option<Timestamp>> {
    table::table
        .filter(table::user_id.eq(user))
        .filter(table::purpose.eq(purpose.as_str()))
        .filter(table::created_at.gt(since))
        .order(table::created_at.desc())
        .select(table::created_at)
        .offset(limit - 1)
        .limit(1)
        .get_result(connection)
        .optional()
}

/// Counts an attempt at the code; false when the request accepts none. It locks the row: a burst of
/// guesses counts as that many.
pub(super) fn take_attempt(
    connection: &mut AnyConnection,
    id: Id,
    now: Timestamp,
) -> QueryResult<bool> {
    let open = table::table
        .filter(table::id.eq(id))
        .filter(table::attempts.lt(i64::from(WRONG_CODES)))
        .filter(table::used_at.is_null())
        .filter(table::expires_at.gt(now));
    diesel::update(open)
        .set(table::attempts.eq(table::attempts + 1_i64))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Removes the attempt again: the code was right.
pub(super) fn return_attempt(connection: &mut AnyConnection, id: Id) -> QueryResult<()> {
    diesel::update(table::table.filter(table::id.eq(id)))
        .set(table::attempts.eq(table::attempts - 1_i64))
        .execute(connection)
        .map(drop)
}

/// Marks a request as used; false when it was used before, has expired, or belongs to an account
/// that was closed meanwhile.
pub(super) fn use_up(
    connection: &mut AnyConnection,
    id: Id,
    purpose: MailPurpose,
    attempts_below: u32,
    now: Timestamp,
) -> QueryResult<bool> {
    let open = table::table
        .filter(table::id.eq(id))
        .filter(table::purpose.eq(purpose.as_str()))
        .filter(table::message.is_not_null())
        .filter(table::used_at.is_null())
        .filter(table::attempts.lt(i64::from(attempts_below)))
        .filter(table::expires_at.gt(now));
    diesel::update(open).set(table::used_at.eq(now)).execute(connection).map(|rows| rows == 1)
}

/// Marks every request for an address with this purpose as used.
pub(super) fn use_up_all(
    connection: &mut AnyConnection,
    purpose: MailPurpose,
    address_key: &str,
    now: Timestamp,
) -> QueryResult<()> {
    let open = table::table
        .filter(table::address_key.eq(address_key))
        .filter(table::purpose.eq(purpose.as_str()))
        .filter(table::used_at.is_null());
    diesel::update(open).set(table::used_at.eq(now)).execute(connection).map(drop)
}

/// The number of notices to an account since a moment.
pub(super) fn count_notices(
    connection: &mut AnyConnection,
    user: Id,
    since: Timestamp,
) -> QueryResult<i64> {
    table::table
        .filter(table::user_id.eq(user))
        .filter(table::purpose.eq(MailPurpose::Notice.as_str()))
        .filter(table::created_at.gt(since))
        .count()
        .get_result(connection)
}

/// The proven address of an open account, its key, and the owner's language.
pub(super) fn proven_address(
    connection: &mut AnyConnection,
    user: Id,
) -> QueryResult<Option<(String, String, Option<String>)>> {
    users::table
        .find(user)
        .filter(users::email_verified_at.is_not_null())
        .filter(users::closed_at.is_null())
        .select((users::email, users::email_key, users::locale))
        .get_result(connection)
        .optional()
}

/// Whether an account is open, enabled and without a password, and has this address.
pub(super) fn is_invited(
    connection: &mut AnyConnection,
    user: Id,
    address: &str,
) -> QueryResult<bool> {
    let invited = users::table
        .filter(users::id.eq(user))
        .filter(users::email.eq(address))
        .filter(users::invited_until.is_not_null())
        .filter(users::disabled_at.is_null())
        .filter(users::closed_at.is_null());
    diesel::select(diesel::dsl::exists(invited)).get_result(connection)
}

/// The version of an account that is open and enabled.
pub(super) fn version_of(connection: &mut AnyConnection, user: Id) -> QueryResult<Option<i64>> {
    users::table
        .find(user)
        .filter(users::disabled_at.is_null())
        .filter(users::closed_at.is_null())
        .select(users::credentials_version)
        .get_result(connection)
        .optional()
}

pub(super) fn count(connection: &mut AnyConnection) -> QueryResult<i64> {
    table::table.count().get_result(connection)
}

pub(super) fn delete_expired(
    connection: &mut AnyConnection,
    now: Timestamp,
    limit: i64,
) -> QueryResult<usize> {
    let ids: Vec<Id> = table::table
        .filter(table::expires_at.le(now))
        .select(table::id)
        .limit(limit)
        .load(connection)?;
    delete(connection, &ids)
}

fn delete(connection: &mut AnyConnection, ids: &[Id]) -> QueryResult<usize> {
    diesel::delete(table::table.filter(table::id.eq_any(ids))).execute(connection)
}

pub(super) fn delete_all(connection: &mut AnyConnection) -> QueryResult<usize> {
    diesel::delete(table::table).execute(connection)
}
