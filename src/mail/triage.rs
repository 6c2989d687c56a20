//! The choice of a request's message, or of none. It is made apart from the request, so that a
//! request costs the same whether or not an account exists.

use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;

use super::messages::MessageKind;
use super::queries::MailRequest;
use super::queries::outbox::{self, Chosen};
use super::{Mail, MailPurpose, count};
use crate::audit::{self, Event, EventKind};
use crate::clock::Timestamp;
use crate::database::{AnyConnection, Id, StoreError, Tx};

/// Requests that one unit of work handles.
const BATCH: i64 = 50;

/// The period over which messages to an address are limited.
pub(super) const LIMIT_PERIOD: Duration = Duration::from_secs(60 * 60);

/// Messages to an address within the period that operators can cause.
pub(super) const MAX_FOR_OPERATORS: i64 = 3;

/// Messages to an address within the period that one client network can cause.
const MAX_PER_NETWORK: i64 = 3;

/// Messages to an address within the period that all unknown sources together can cause.
const MAX_PER_ADDRESS: i64 = 12;

/// Further messages within the period for known devices and networks of the account.
const MAX_FOR_KNOWN: i64 = 3;

/// The quota that a message counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quota {
    /// That of unknown sources.
    Unknown,
    /// That of known devices and networks.
    Known,
    /// That of operators.
    Operator,
}

impl Quota {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Known => "known",
            Self::Operator => "operator",
        }
    }
}

/// The account of an address.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// The account.
    pub user: Id,
    /// Its stored address, to which its mail goes.
    pub email: String,
    /// Its version, which a later change raises.
    pub version: i64,
    /// The owner's language.
    pub locale: Option<String>,
    /// Until when it accepts its invitation, if it has no password yet.
    pub invited_until: Option<Timestamp>,
    /// Whether it is disabled.
    pub is_disabled: bool,
    /// Whether the device or the network of the request is known to it.
    pub is_known: bool,
}

/// Finds the account of a request's address.
pub type Directory =
    Arc<dyn Fn(&mut AnyConnection, &MailRequest) -> QueryResult<Option<Recipient>> + Send + Sync>;

impl Mail {
    /// Asks for work, in one statement.
    pub(super) async fn work(&self) -> Result<outbox::Work, StoreError> {
        let now = self.clock.now();
        self.db.read(move |c| outbox::work(c, now)).await
    }

    /// Chooses the messages of a batch of requests. Returns whether there may be more.
    pub(super) async fn choose_messages(&self, directory: &Directory) -> Result<bool, StoreError> {
        let (this, directory) = (self.clone(), Arc::clone(directory));
        self.db
            .write(move |tx| {
                let rows = outbox::undecided(tx.connection(), BATCH)?;
                for row in &rows {
                    this.choose(tx, &directory, row, this.clock.now())?;
                }
                Ok(i64::try_from(rows.len()) == Ok(BATCH))
            })
            .await
    }

    fn choose(
        &self,
        tx: &mut Tx<'_>,
        directory: &Directory,
        row: &MailRequest,
        now: Timestamp,
    ) -> QueryResult<()> {
        let recipient = directory(tx.connection(), row)?;
        let owner = recipient.as_ref().map(|recipient| recipient.user);
        let is_known = recipient.as_ref().is_some_and(|recipient| recipient.is_known);
        let (is_chosen, event) = match message_for(row, recipient, now) {
            None => (self.choose_none(tx, row, "no_account", now)?, None),
            Some(chosen) => match free_quota(tx.connection(), row, is_known, now)? {
                None => {
                    let limited = (EventKind::MailLimited, chosen.message);
                    (self.choose_none(tx, row, "over_limit", now)?, Some(limited))
                }
                Some(quota) => {
                    let requested = (EventKind::MailRequested, chosen.message);
                    let chosen = Chosen { quota, ..chosen };
                    (outbox::choose(tx.connection(), row, &chosen)?, Some(requested))
                }
            },
        };
        // Only the node whose statement changed the row records it.
        if is_chosen { self.record_choice(tx, row, owner, event, now) } else { Ok(()) }
    }

    /// Records the choice for the owner of the address. A logged-in requester sees one event,
    /// whether or not the address has an account, and whether or not a message is sent.
    fn record_choice(
        &self,
        tx: &mut Tx<'_>,
        row: &MailRequest,
        owner: Option<Id>,
        event: Option<(EventKind, MessageKind)>,
        now: Timestamp,
    ) -> QueryResult<()> {
        let for_requester = (EventKind::MailRequested, MessageKind::EmailCode);
        if row.purpose() == MailPurpose::EmailChange {
            record(tx, for_requester, row.user_id, row, now)?;
        }
        let Some(event) = event else { return Ok(()) };
        if event != for_requester {
            record(tx, event, owner, row, now)?;
        }
        if event.0 == EventKind::MailLimited {
            count(tx, &self.counters.over_limit, row.purpose());
        }
        Ok(())
    }

    fn choose_none(
        &self,
        tx: &mut Tx<'_>,
        row: &MailRequest,
        outcome: &str,
        now: Timestamp,
    ) -> QueryResult<bool> {
        let expires_at = self.expiry(now);
        outbox::choose_none(tx.connection(), row.id, outcome, expires_at)
    }
}

/// The message of a request, regardless of limits.
fn message_for(row: &MailRequest, recipient: Option<Recipient>, now: Timestamp) -> Option<Chosen> {
    if row.is_used() {
        return None;
    }
    let to_account = |message, it: Recipient| Chosen {
        message,
        quota: Quota::Unknown,
        user: Some(it.user),
        address: it.email,
        version: Some(it.version),
        locale: it.locale.or_else(|| row.locale.clone()),
        expires_at: None,
    };
    let to_address = |message| Chosen {
        message,
        quota: Quota::Unknown,
        user: row.user_id,
        address: row.address.clone(),
        version: row.credentials_version,
        locale: row.locale.clone(),
        expires_at: None,
    };
    match (row.purpose(), recipient) {
        (_, Some(recipient)) if recipient.is_disabled => None,
        (MailPurpose::Registration, None) => Some(to_address(MessageKind::Registration)),
        (MailPurpose::Registration, Some(it)) => Some(to_account(MessageKind::AccountExists, it)),
        (MailPurpose::Reset, Some(it @ Recipient { invited_until: Some(until), .. })) => {
            let again =
                Chosen { expires_at: Some(until), ..to_account(MessageKind::Invitation, it) };
            (now < until).then_some(again)
        }
        (MailPurpose::Reset, it) => it.map(|it| to_account(MessageKind::Reset, it)),
        (MailPurpose::EmailChange, Some(it)) if Some(it.user) != row.user_id => {
            // The row stays that of the requesting account; the message goes to the other one.
            Some(Chosen { user: row.user_id, ..to_account(MessageKind::AccountExists, it) })
        }
        (MailPurpose::EmailChange, _) => Some(to_address(MessageKind::EmailCode)),
        // Their messages are chosen when they are made.
        (MailPurpose::Invitation | MailPurpose::Notice, _) => None,
    }
}

/// The quota that allows one more message.
fn free_quota(
    connection: &mut AnyConnection,
    row: &MailRequest,
    is_known: bool,
    now: Timestamp,
) -> QueryResult<Option<Quota>> {
    let (key, since) = (&row.address_key, now.minus(LIMIT_PERIOD));
    let network = Some(row.network.as_deref().unwrap_or_default());
    let mut count = |network, quota| outbox::count_chosen(connection, key, network, quota, since);
    if count(network, Quota::Unknown)? < MAX_PER_NETWORK
        && count(None, Quota::Unknown)? < MAX_PER_ADDRESS
    {
        return Ok(Some(Quota::Unknown));
    }
    Ok((is_known && count(None, Quota::Known)? < MAX_FOR_KNOWN).then_some(Quota::Known))
}

fn record(
    tx: &mut Tx<'_>,
    (kind, message): (EventKind, MessageKind),
    user: Option<Id>,
    row: &MailRequest,
    now: Timestamp,
) -> QueryResult<()> {
    let event = Event::new(kind).detail(message.as_str()).with_address(row.network.as_deref());
    audit::record(tx, user.map_or(event.clone(), |user| event.with_user(user)), now)
}
