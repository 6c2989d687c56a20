//! Notices: messages that tell the owner of an account about an event.
//!
//! They go to proven addresses only, so that a mistyped address does not send them to a stranger.
//! Each is one row, enqueued in the unit of work of its event.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use diesel::QueryResult;

use super::messages::MessageKind;
use super::queries::{self, NewRow};
use super::{Mail, MailPurpose, RETRY_FOR, count};
use crate::clock::Timestamp;
use crate::database::{AnyConnection, Id, StoreError, Tx};
use crate::locks;

/// Notices to an account within [`LIMIT_PERIOD`]; those about password, address and second factors
/// ([`MessageKind::is_vital`]) are never dropped.
const MAX_NOTICES: i64 = 10;

/// The period over which notices are limited.
const LIMIT_PERIOD: Duration = Duration::from_secs(60 * 60);

/// The maximum number of characters of a user agent in a notice.
const MAX_USER_AGENT_CHARS: usize = 100;

/// The maximum number of sessions whose last notice of a replay is remembered, and of notices that
/// wait in memory.
const MAX_REPLAYED_SESSIONS: usize = 10_000;

/// Notices of events that have no unit of work; the sender writes them.
#[derive(Debug, Default)]
pub(super) struct PendingNotices {
    waiting: VecDeque<Replay>,
    /// When the last notice about a session was enqueued.
    notified: HashMap<Id, Instant>,
}

/// A replay of a session's token from another device.
#[derive(Clone, Debug)]
struct Replay {
    user: Id,
    network: Option<String>,
    user_agent: Option<String>,
}

/// The source of the request that caused a notice.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoticeContext<'a> {
    /// The client's network.
    pub network: Option<&'a str>,
    /// The client's user agent.
    pub user_agent: Option<&'a str>,
    /// How many recovery codes are left, in a notice that one was used.
    pub codes_left: Option<usize>,
}

/// The recipient of a notice.
#[derive(Clone, Debug)]
pub struct NoticeRecipient {
    /// The account.
    pub user: Id,
    /// Its proven address.
    pub email: String,
    /// The address's key.
    pub email_key: String,
    /// The owner's language.
    pub locale: Option<String>,
}

impl Mail {
    /// Enqueues a notice to an account in the caller's unit of work, if its address is proven and
    /// mail is on.
    ///
    /// # Errors
    /// The database error.
    pub fn notify(
        &self,
        tx: &mut Tx<'_>,
        user: Id,
        message: MessageKind,
        context: NoticeContext<'_>,
        now: Timestamp,
    ) -> QueryResult<()> {
        if !self.is_on() {
            return Ok(());
        }
        match notice_recipient(tx.connection(), user)? {
            Some(recipient) => self.notify_at(tx, &recipient, message, context, now),
            None => Ok(()),
        }
    }

    /// The same for an address that the account no longer has.
    ///
    /// # Errors
    /// The database error.
    pub fn notify_at(
        &self,
        tx: &mut Tx<'_>,
        recipient: &NoticeRecipient,
        message: MessageKind,
        context: NoticeContext<'_>,
        now: Timestamp,
    ) -> QueryResult<()> {
        if !self.is_on() {
            return Ok(());
        }
        let user = recipient.user;
        if !message.is_vital()
            && queries::count_notices(tx.connection(), user, now.minus(LIMIT_PERIOD))?
                >= MAX_NOTICES
        {
            count(tx, &self.counters.over_limit, MailPurpose::Notice);
            return Ok(());
        }
        let row = NewRow {
            id: Id::new(now),
            purpose: MailPurpose::Notice,
            message: Some(message),
            outcome: None,
            quota: None,
            user_id: Some(user),
            address: recipient.email.clone(),
            address_key: recipient.email_key.clone(),
            network: context.network.map(str::to_owned),
            device: None,
            password_hash: None,
            credentials_version: None,
            detail: context.codes_left.map(|left| left.to_string()).or_else(|| {
                let text = context.user_agent?;
                Some(text.chars().take(MAX_USER_AGENT_CHARS).collect())
            }),
            locale: recipient.locale.clone(),
            created_at: now,
            expires_at: self.expiry(now.plus(RETRY_FOR)),
        };
        self.enqueue(tx, &row).map(drop)
    }
}

impl Mail {
    /// Notifies the owner soon that a session is used from two devices, at most once an hour. The
    /// notice waits in memory: it is lost if the process dies first.
    pub fn notify_replay_soon(
        &self,
        user: Id,
        session: Id,
        network: Option<String>,
        user_agent: Option<String>,
    ) {
        if !self.is_on() {
            return;
        }
        let now = self.clock.monotonic();
        let mut pending = locks::lock(&self.pending);
        if pending.notified.len() >= MAX_REPLAYED_SESSIONS {
            pending.notified.retain(|_, at| now.duration_since(*at) < LIMIT_PERIOD);
        }
        let is_notified =
            pending.notified.get(&session).is_some_and(|at| now.duration_since(*at) < LIMIT_PERIOD);
        let has_room = pending.notified.len() < MAX_REPLAYED_SESSIONS
            && pending.waiting.len() < MAX_REPLAYED_SESSIONS;
        if !is_notified && has_room {
            pending.notified.insert(session, now);
            pending.waiting.push_back(Replay { user, network, user_agent });
        }
    }

    /// Stores the notices that wait in memory. After a failure the rest keeps waiting.
    pub(super) async fn store_pending_notices(&self) {
        while let Some(replay) = self.next_pending() {
            if let Err(error) = self.store_replay(replay.clone()).await {
                tracing::warn!(%error, "a notice was not stored; it is retried");
                // Behind the others, in case it is the cause.
                locks::lock(&self.pending).waiting.push_back(replay);
                return;
            }
        }
    }

    fn next_pending(&self) -> Option<Replay> {
        locks::lock(&self.pending).waiting.pop_front()
    }

    async fn store_replay(&self, replay: Replay) -> Result<(), StoreError> {
        let this = self.clone();
        let written = self.db.write(move |tx| {
            let Replay { user, network, user_agent } = &replay;
            let context = NoticeContext {
                network: network.as_deref(),
                user_agent: user_agent.as_deref(),
                codes_left: None,
            };
            let message = MessageKind::RefreshReplayedElsewhere;
            this.notify(tx, *user, message, context, this.clock.now())
        });
        written.await
    }
}

/// The proven address of an account; `None` when it is not proven.
///
/// # Errors
/// The database error.
pub fn notice_recipient(
    connection: &mut AnyConnection,
    user: Id,
) -> QueryResult<Option<NoticeRecipient>> {
    let proven = queries::proven_address(connection, user)?;
    Ok(proven.map(|(email, email_key, locale)| NoticeRecipient { user, email, email_key, locale }))
}
