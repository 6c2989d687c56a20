//! The statements that end the requests of a closed account. The hourly limits still count them:
//! otherwise closing one account after another would allow any number of messages to an address.

use diesel::dsl::not;
use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::database::schema::mail_requests as table;
use crate::database::{AnyConnection, Id};
use crate::mail::MailPurpose;
use crate::mail::triage::LIMIT_PERIOD;

/// Deletes the notices of an account, and its requests that the limits no longer count. Ends the
/// other ones and erases personal data in them. They keep their network and the key of their
/// address, and expire when no limit counts them. With a key, requests for that address are
/// included.
pub(in crate::mail) fn end_of(
    connection: &mut AnyConnection,
    user: Id,
    address_key: Option<&str>,
    now: Timestamp,
) -> QueryResult<()> {
    // No address has an empty key.
    let key = address_key.unwrap_or_default();
    let of_account = || table::user_id.eq(user).or(table::address_key.eq(key));
    let notice = table::purpose.eq(MailPurpose::Notice.as_str());
    let outdated = notice.or(table::created_at.le(now.minus(LIMIT_PERIOD)));
    diesel::delete(table::table.filter(of_account()).filter(outdated)).execute(connection)?;
    // A message that no attempt was made to send does not count.
    let tried = table::handed_at.is_not_null().or(table::leased_until.is_not_null());
    diesel::update(table::table.filter(of_account()).filter(not(tried)))
        .set(table::quota.eq(None::<String>))
        .execute(connection)?;
    diesel::update(table::table.filter(of_account()).filter(table::outcome.is_null()))
        .set(table::outcome.eq("superseded"))
        .execute(connection)?;
    let period = i64::try_from(LIMIT_PERIOD.as_micros()).unwrap_or(i64::MAX);
    let nothing = None::<String>;
    diesel::update(table::table.filter(of_account()))
        .set((
            // Without a message, neither a link nor a code is accepted.
            table::message.eq(&nothing),
            table::next_send_at.eq(None::<i64>),
            table::expires_at.eq(table::created_at + period),
            table::user_id.eq(None::<Id>),
            table::address.eq(""),
            table::device.eq(None::<Id>),
            table::password_hash.eq(&nothing),
            table::credentials_version.eq(None::<i64>),
            table::detail.eq(&nothing),
            table::locale.eq(&nothing),
        ))
        .execute(connection)
        .map(drop)
}
