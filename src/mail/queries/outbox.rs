//! The statements of the outbox: the choice of a message, leases, and results of attempts.

use diesel::dsl::{count_star, exists, min};
use diesel::prelude::*;

use super::MailRequest;
use crate::clock::Timestamp;
use crate::database::schema::mail_requests as table;
use crate::database::{AnyConnection, Id};
use crate::mail::MailPurpose;
use crate::mail::delivery::{LEASE, MAX_RETRY_WAIT};
use crate::mail::messages::MessageKind;
use crate::mail::triage::Quota;

/// Requests without a choice yet, the oldest first.
pub(in crate::mail) fn undecided(
    connection: &mut AnyConnection,
    limit: i64,
) -> QueryResult<Vec<MailRequest>> {
    table::table
        .filter(table::message.is_null())
        .filter(table::outcome.is_null())
        .order(table::id)
        .limit(limit)
        .load(connection)
}

/// The number of messages to an address that counted against this quota since a moment: from one
/// network, or from all.
pub(in crate::mail) fn count_chosen(
    connection: &mut AnyConnection,
    address_key: &str,
    network: Option<&str>,
    quota: Quota,
    since: Timestamp,
) -> QueryResult<i64> {
    let chosen = table::table
        .filter(table::address_key.eq(address_key))
        .filter(table::quota.eq(quota.as_str()))
        .filter(table::created_at.gt(since))
        .filter(table::used_at.is_null());
    match network {
        Some(network) => chosen.filter(table::network.eq(network)).count().get_result(connection),
        None => chosen.count().get_result(connection),
    }
}

/// When the n-th latest of the messages was requested that count against this quota of an address
/// since a moment, or `None` if there are fewer.
pub(in crate::mail) fn nth_latest_chosen(
    connection: &mut AnyConnection,
    address_key: &str,
    quota: Quota,
    since: Timestamp,
    n: i64,
) -> QueryResult<Option<Timestamp>> {
    table::table
        .filter(table::address_key.eq(address_key))
        .filter(table::quota.eq(quota.as_str()))
        .filter(table::created_at.gt(since))
        .filter(table::used_at.is_null())
        .order(table::created_at.desc())
        .select(table::created_at)
        .offset(n - 1)
        .limit(1)
        .get_result(connection)
        .optional()
}

/// A chosen message and its recipient.
#[derive(Clone, Debug)]
pub(in crate::mail) struct Chosen {
    pub message: MessageKind,
    pub quota: Quota,
    pub user: Option<Id>,
    pub address: String,
    pub version: Option<i64>,
    pub locale: Option<String>,
    /// When the row is deleted, if it is valid until then.
    pub expires_at: Option<Timestamp>,
}

/// Stores the message of a request; false when another node has chosen already.
pub(in crate::mail) fn choose(
    connection: &mut AnyConnection,
    row: &MailRequest,
    chosen: &Chosen,
) -> QueryResult<bool> {
    diesel::update(undecided_row(row.id))
        .set((
            table::message.eq(chosen.message.as_str()),
            table::quota.eq(chosen.quota.as_str()),
            table::user_id.eq(chosen.user),
            table::address.eq(&chosen.address),
            table::credentials_version.eq(chosen.version),
            table::locale.eq(&chosen.locale),
            chosen.expires_at.map(|at| table::expires_at.eq(at)),
            table::next_send_at.eq(row.created_at.as_micros()),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Stores that a request gets no message; false when another node has chosen already.
pub(in crate::mail) fn choose_none(
    connection: &mut AnyConnection,
    id: Id,
    outcome: &str,
    expires_at: Timestamp,
) -> QueryResult<bool> {
    diesel::update(undecided_row(id))
        .set((table::outcome.eq(outcome), table::expires_at.eq(expires_at)))
        .execute(connection)
        .map(|rows| rows == 1)
}

#[diesel::dsl::auto_type]
fn undecided_row(id: Id) -> _ {
    table::table
        .filter(table::id.eq(id))
        .filter(table::message.is_null())
        .filter(table::outcome.is_null())
}

/// Which of the due messages are claimed.
#[derive(Clone, Debug)]
pub(in crate::mail) struct Claim {
    /// Those that somebody with an account waits for: not registrations.
    pub urgent_only: bool,
    /// The domains of recipients that get no further message now, at most [`BUSY_DOMAINS`].
    pub busy: Vec<String>,
    pub limit: i64,
}

/// The largest number of domains in a [`Claim`].
pub(in crate::mail) const BUSY_DOMAINS: usize = 2;

/// The present time of the two clocks that messages depend on.
#[derive(Clone, Copy, Debug)]
pub(in crate::mail) struct SendClocks {
    /// The node's, which decides when a message is due.
    pub now: Timestamp,
    /// The one that leases go by.
    pub lease_now: Timestamp,
}

/// Messages that are due and not leased, in the order in which they are sent.
pub(in crate::mail) fn due(
    connection: &mut AnyConnection,
    claim: &Claim,
    clocks: SendClocks,
) -> QueryResult<Vec<MailRequest>> {
    let excluded = |n: usize| claim.busy.get(n).map_or_else(String::new, |it| at_domain(it));
    // No purpose has the empty name.
    let excluded_purpose = if claim.urgent_only { MailPurpose::Registration.as_str() } else { "" };
    table::table
        .filter(is_due(clocks.now))
        .filter(is_free(clocks.lease_now))
        .filter(table::purpose.ne(excluded_purpose))
        .filter(table::address_key.not_like(excluded(0)).escape('!'))
        .filter(table::address_key.not_like(excluded(1)).escape('!'))
        .order((table::next_send_at, table::id))
        .limit(claim.limit)
        .load(connection)
}

/// The pattern of addresses at a domain.
fn at_domain(domain: &str) -> String {
    let escaped = domain.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    format!("%@{escaped}")
}

/// A message that is postponed by more than the longest wait was postponed by a clock that was
/// wrong.
#[diesel::dsl::auto_type]
fn is_due(now: Timestamp) -> _ {
    let wrong: Timestamp = now.plus(MAX_RETRY_WAIT);
    table::next_send_at.le(now).or(table::next_send_at.gt(wrong))
}

/// So was a lease of more than [`LEASE`].
#[diesel::dsl::auto_type]
fn is_free(lease_now: Timestamp) -> _ {
    let wrong: Timestamp = lease_now.plus(LEASE);
    table::leased_until
        .is_null()
        .or(table::leased_until.le(lease_now))
        .or(table::leased_until.gt(wrong))
}

/// Leases a message; false when another sender has it.
pub(in crate::mail) fn lease(
    connection: &mut AnyConnection,
    id: Id,
    lease_now: Timestamp,
) -> QueryResult<bool> {
    let free = table::table
        .filter(table::id.eq(id))
        .filter(table::next_send_at.is_not_null())
        .filter(is_free(lease_now));
    diesel::update(free)
        .set(table::leased_until.eq(lease_now.plus(LEASE)))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Stores that the mail server accepted the message; false when that is stored already, or when the
/// account was closed meanwhile.
pub(in crate::mail) fn handed_over(
    connection: &mut AnyConnection,
    id: Id,
    at: Timestamp,
    expires_at: Timestamp,
) -> QueryResult<bool> {
    let waiting = table::table
        .filter(table::id.eq(id))
        .filter(table::message.is_not_null())
        .filter(table::handed_at.is_null());
    let nothing = None::<i64>;
    diesel::update(waiting)
        .set((
            table::handed_at.eq(at),
            table::next_send_at.eq(nothing),
            table::outcome.eq("sent"),
            table::expires_at.eq(expires_at),
            table::sends.eq(table::sends + 1_i64),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Another attempt at a message.
pub(in crate::mail) struct Postponed {
    /// When it is due.
    pub next: Timestamp,
    /// The latest moment at which the server may have accepted the message.
    pub tried_at: Timestamp,
    /// Whether the failed attempt counts: the message may have reached the server.
    pub is_tried: bool,
}

/// Schedules another attempt; false when the message no longer waits.
pub(in crate::mail) fn postpone(
    connection: &mut AnyConnection,
    id: Id,
    postponed: &Postponed,
) -> QueryResult<bool> {
    let waiting = table::table.filter(table::id.eq(id)).filter(table::next_send_at.is_not_null());
    diesel::update(waiting)
        .set((
            table::next_send_at.eq(postponed.next),
            table::leased_until.eq(postponed.tried_at),
            table::sends.eq(table::sends + i64::from(postponed.is_tried)),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Abandons a message; false when it no longer waits.
pub(in crate::mail) fn abandon(
    connection: &mut AnyConnection,
    id: Id,
    outcome: &str,
    expires_at: Timestamp,
) -> QueryResult<bool> {
    let nothing = None::<i64>;
    let waiting = table::table.filter(table::id.eq(id)).filter(table::next_send_at.is_not_null());
    diesel::update(waiting)
        .set((
            table::next_send_at.eq(nothing),
            table::outcome.eq(outcome),
            table::expires_at.eq(expires_at),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// The messages that wait, and the requests whose message is not chosen yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Their number.
    pub waiting: u64,
    /// When the oldest was requested.
    pub oldest: Option<Timestamp>,
}

pub(in crate::mail) fn backlog(connection: &mut AnyConnection) -> QueryResult<Backlog> {
    type Totals = (i64, Option<Timestamp>);
    let totals = (count_star(), min(table::created_at));
    // Two statements, because each has an index of its own.
    let (chosen, oldest): Totals = table::table
        .filter(table::next_send_at.is_not_null())
        .select(totals)
        .get_result(connection)?;
    let (undecided, oldest_undecided): Totals = table::table
        .filter(table::message.is_null())
        .filter(table::outcome.is_null())
        .select(totals)
        .get_result(connection)?;
    let waiting = u64::try_from(chosen.saturating_add(undecided)).unwrap_or(0);
    Ok(Backlog { waiting, oldest: oldest.into_iter().chain(oldest_undecided).min() })
}

/// The work that the sender finds.
#[derive(Clone, Copy, Debug)]
pub(in crate::mail) struct Work {
    /// Whether a request has no choice of its message yet.
    pub has_undecided: bool,
    /// Whether a message is due, leased or not.
    pub has_due: bool,
    /// Whether one of them is not for a registration.
    pub has_urgent: bool,
}

/// Asks for work in one statement.
pub(in crate::mail) fn work(connection: &mut AnyConnection, now: Timestamp) -> QueryResult<Work> {
    let undecided = table::table.filter(table::message.is_null()).filter(table::outcome.is_null());
    let due = table::table.filter(is_due(now));
    let urgent = due.filter(table::purpose.ne(MailPurpose::Registration.as_str()));
    let (has_undecided, has_due, has_urgent) =
        diesel::select((exists(undecided), exists(due), exists(urgent))).get_result(connection)?;
    Ok(Work { has_undecided, has_due, has_urgent })
}

/// Messages that wait, leased or not, in the order in which they are sent.
pub(in crate::mail) fn list(
    connection: &mut AnyConnection,
    limit: i64,
) -> QueryResult<Vec<MailRequest>> {
    table::table
        .filter(table::next_send_at.is_not_null())
        .order((table::next_send_at, table::id))
        .limit(limit)
        .load(connection)
}
