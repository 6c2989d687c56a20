//! Mail: requests that a mailbox proves, notices, and the outbox in which both wait.
//!
//! A request is one row of `mail_requests`. [`Mail::request`] inserts it without looking at any
//! account, so an unknown address costs the same as a known one. The [`sender`] chooses the message
//! afterwards, or none, and sends it. [`codes`] computes the token of the request, the token of the
//! link and the code from the row's id, and [`mod@decide`] says whether each is still valid.
//! [`accounts`](crate::accounts) carries out a request: it consumes the row in the unit of work
//! that changes the account.

pub mod codes;
pub mod decide;
mod delivery;
pub mod messages;
pub mod notices;
pub mod operators;
mod queries;
pub mod requests;
mod room;
pub mod sender;
pub mod transport;
mod triage;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Clock;
use crate::database::{Database, Id, StoreError, Tx};
use crate::metrics::{Counter, EncodeLabelSet, Family, counters};
use crate::named::named;

use codes::MailKeys;
pub use decide::{AccountState, Lifetimes};
use notices::PendingNotices;
pub use queries::{Backlog, MailRequest};
use room::RowCounts;

/// How long a message is retried, and so how long a request may wait for it.
const RETRY_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest time that a row is stored after its message was handed over: the hourly limits
/// count rows.
const MIN_RETENTION: Duration = Duration::from_secs(60 * 60);

named! {
    /// The purpose of a request, in the table and under the MAC.
    pub enum MailPurpose {
        /// To create an account.
        Registration = "registration",
        /// To set a new password.
        Reset = "reset",
        /// To set the first password of an account that an operator has created.
        Invitation = "invitation",
        /// To change an account's address, or to prove the present one.
        EmailChange = "email_change",
        /// To tell the owner of an account about an event; it authorises nothing.
        Notice = "notice",
    }
}

/// The settings of mail.
#[derive(Clone, Debug)]
pub struct MailPolicy {
    /// Whether mail can be sent.
    pub is_on: bool,
    /// The lifetimes of links and codes.
    pub lifetimes: Lifetimes,
    /// The maximum number of rows in the table.
    pub max_rows: u64,
}

/// The label of [`MailCounters`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PurposeLabel {
    /// The purpose of the request.
    pub purpose: MailPurpose,
}

/// Messages since the start, by purpose.
#[derive(Clone, Debug)]
pub struct MailCounters {
    /// Messages that the mail server accepted.
    pub sent: Family<PurposeLabel, Counter>,
    /// Messages that were abandoned.
    pub failed: Family<PurposeLabel, Counter>,
    /// Failed attempts after which a message waits for another one.
    pub retried: Family<PurposeLabel, Counter>,
    /// Requests and notices without a message, because a limit was reached.
    pub over_limit: Family<PurposeLabel, Counter>,
}

impl Default for MailCounters {
    fn default() -> Self {
        let zero = || counters(MailPurpose::ALL.iter().map(|&purpose| PurposeLabel { purpose }));
        Self { sent: zero(), failed: zero(), retried: zero(), over_limit: zero() }
    }
}

/// Mail requests and their messages. Clones share everything.
#[derive(Clone)]
pub struct Mail {
    db: Database,
    clock: Clock,
    keys: MailKeys,
    policy: MailPolicy,
    counters: MailCounters,
    rows: Arc<RowCounts>,
    pending: Arc<Mutex<PendingNotices>>,
}

impl Mail {
    /// Creates the service from its dependencies.
    #[must_use]
    pub fn new(db: Database, clock: Clock, keys: MailKeys, policy: MailPolicy) -> Self {
        let (counters, rows, pending) = (MailCounters::default(), Arc::default(), Arc::default());
        Self { db, clock, keys, policy, counters, rows, pending }
    }

    /// Whether mail can be sent.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.policy.is_on
    }

    /// Messages since the start.
    #[must_use]
    pub const fn counters(&self) -> &MailCounters {
        &self.counters
    }

    /// The messages that wait.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.db.read(queries::outbox::backlog).await
    }

    /// At most `limit` messages that wait, in the order in which they are sent.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn waiting(&self, limit: u32) -> Result<Vec<MailRequest>, StoreError> {
        self.db.read(move |c| queries::outbox::list(c, limit.into())).await
    }

    /// The id in the token of a request with this purpose.
    ///
    /// # Errors
    /// [`codes::ForgedToken`].
    pub fn read_request(&self, purpose: MailPurpose, text: &str) -> Result<Id, codes::ForgedToken> {
        self.keys.read_request(purpose, text)
    }

    /// The id in the token of a link that was mailed for this purpose.
    ///
    /// # Errors
    /// [`codes::ForgedToken`].
    pub fn read_link(&self, purpose: MailPurpose, text: &str) -> Result<Id, codes::ForgedToken> {
        self.keys.read_link(purpose, text)
    }
}

/// Counts a message after the commit.
fn count(tx: &mut Tx<'_>, counter: &Family<PurposeLabel, Counter>, purpose: MailPurpose) {
    let counter = counter.clone();
    tx.after_commit(move || {
        counter.get_or_create(&PurposeLabel { purpose }).inc();
    });
}
