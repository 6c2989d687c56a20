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

/// Messages of one kind to an address within the period that one client network can cause.
const MAX_PER_NETWORK: i64 = 3;

/// Messages of one kind to an address within the period that all unknown sources together can
/// cause.
const MAX_PER_ADDRESS: i64 = 12;

/// The same for codes that prove a new address: an account can request them for any address.
const MAX_CHANGE_CODES: i64 = 6;

/// Messages within the period that an account exists, to one address: that one network can cause,
/// and that all together can. They contain nothing that their recipient waits for.
const MAX_ACCOUNT_EXISTS: (i64, i64) = (1, 3);

/// Further resets within the period for known devices and networks of the account.
const MAX_FOR_KNOWN: i64 = 3;

/// The quota that a message counts against. Each kind of message has its own: strangers who cause
/// one kind do not keep the owner of an address from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quota {
    /// That of resets for unknown sources.
    Unknown,
    /// That of resets for known devices and networks.
    Known,
    /// That of operators.
    Operator,
    /// That of codes of registrations.
    Registration,
    /// That of codes that prove the address of an account.
    EmailCode,
    /// That of messages that an account exists.
    AccountExists,
}

impl Quota {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Known => "known",
            Self::Operator => "operator",
            Self::Registration => "registration",
            Self::EmailCode => "email_code",
            Self::AccountExists => "account_exists",
        }
    }

    /// The messages to an address within the period that one network can cause, and that all
    /// together can.
    const fn limits(self) -> (i64, i64) {
        match self {
            Self::Unknown | Self::Registration => (MAX_PER_NETWORK, MAX_PER_ADDRESS),
            Self::EmailCode => (MAX_PER_NETWORK, MAX_CHANGE_CODES),
            Self::AccountExists => MAX_ACCOUNT_EXISTS,
            Self::Known => (MAX_FOR_KNOWN, MAX_FOR_KNOWN),
            Self::Operator => (MAX_FOR_OPERATORS, MAX_FOR_OPERATORS),
        }
    }
}

/// The quota of a message that a client's request causes.
const fn quota_of(message: MessageKind) -> Quota {
    match message {
        MessageKind::Registration => Quota::Registration,
        MessageKind::EmailCode => Quota::EmailCode,
        MessageKind::AccountExists => Quota::AccountExists,
        _ => Quota::Unknown,
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
pub type AccountDirectory =
    Arc<dyn Fn(&mut AnyConnection, &MailRequest) -> QueryResult<Option<Recipient>> + Send + Sync>;

impl Mail {
    /// Asks for work, in one statement.
    pub(super) async fn work(&self) -> Result<outbox::Work, StoreError> {
        let now = self.clock.now();
        self.db.read(move |c| outbox::work(c, now)).await
    }

    /// Chooses the messages of a batch of requests. Returns whether there may be more.
    pub(super) async fn choose_messages(
        &self,
        directory: &AccountDirectory,
    ) -> Result<bool, StoreError> {
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
        directory: &AccountDirectory,
        row: &MailRequest,
        now: Timestamp,
    ) -> QueryResult<()> {
        let recipient = directory(tx.connection(), row)?;
        let owner = recipient.as_ref().map(|recipient| recipient.user);
        let is_known = recipient.as_ref().is_some_and(|recipient| recipient.is_known);
        let (is_chosen, event) = match message_for(row, recipient, now) {
            None => (self.choose_none(tx, row, "no_account", now)?, None),
            Some(chosen) => match free_quota(tx.connection(), row, chosen.quota, is_known, now)? {
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
        quota: quota_of(message),
        user: Some(it.user),
        address: it.email,
        version: Some(it.version),
        locale: it.locale.or_else(|| row.locale.clone()),
        expires_at: None,
    };
    let to_address = |message| Chosen {
        message,
        quota: quota_of(message),
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

/// The quota that allows one more message: its own or, for a reset, that of known sources.
fn free_quota(
    connection: &mut AnyConnection,
    row: &MailRequest,
    own: Quota,
    is_known: bool,
    now: Timestamp,
) -> QueryResult<Option<Quota>> {
    let (key, since) = (&row.address_key, now.minus(LIMIT_PERIOD));
    let network = Some(row.network.as_deref().unwrap_or_default());
    let mut count = |network, quota| outbox::count_chosen(connection, key, network, quota, since);
    let (per_network, per_address) = own.limits();
    if count(network, own)? < per_network && count(None, own)? < per_address {
        return Ok(Some(own));
    }
    let may_be_known = is_known && own == Quota::Unknown;
    Ok((may_be_known && count(None, Quota::Known)? < MAX_FOR_KNOWN).then_some(Quota::Known))
}

fn record(
    tx: &mut Tx<'_>,
    (kind, message): (EventKind, MessageKind),
    user: Option<Id>,
    row: &MailRequest,
    now: Timestamp,
) -> QueryResult<()> {
    let event = Event::new(kind).with_detail(message.as_str()).with_address(row.network.as_deref());
    audit::record(tx, user.map_or(event.clone(), |user| event.with_user(user)), now)
}
