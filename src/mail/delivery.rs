//! Messages leave the outbox: leases, and the results of attempts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use tokio::time::sleep;

use super::messages::MessageKind;
use super::queries::outbox::{self, BUSY_DOMAINS, Claim, Postponed, SendClocks};
use super::queries::{self, MailRequest};
use super::sender::MAX_CONCURRENT;
use super::transport::SendError;
use super::{Mail, MailPurpose, RETRY_FOR, count};
use crate::audit::{self, Event, EventKind};
use crate::clock::Timestamp;
use crate::database::{AnyConnection, StoreError, Tx, time};

/// How long a sender may send a message before another one may. It is longer than the timeout of an
/// attempt ([`super::sender`]), so several nodes send each message once.
pub(super) const LEASE: Duration = Duration::from_secs(5 * 60);

/// The wait after the first attempt; each further wait is four times as long.
const FIRST_RETRY_WAIT: Duration = Duration::from_secs(5);

/// The longest wait between two attempts.
pub(super) const MAX_RETRY_WAIT: Duration = Duration::from_secs(60 * 60);

/// Messages to one domain that are sent concurrently: half of all
/// ([`super::sender::MAX_CONCURRENT`]), so that a domain whose server is slow leaves room for
/// others.
const MAX_PER_DOMAIN: usize = MAX_CONCURRENT / BUSY_DOMAINS;

/// The wait before a result that was not stored is stored again.
const STORE_RETRY_WAIT: Duration = Duration::from_secs(1);

/// An attempt to send a message, and its result.
pub(super) type SendAttempt = (MailRequest, Result<(), SendError>);

impl Mail {
    /// Leases messages that are due. `in_transit` are the domains of the recipients of the messages
    /// that are being sent; with those, no domain gets more than [`MAX_PER_DOMAIN`].
    pub(super) async fn claim(
        &self,
        in_transit: Vec<String>,
        urgent_only: bool,
        limit: i64,
    ) -> Result<Vec<MailRequest>, StoreError> {
        let now = self.clock.now();
        let mut per_domain = HashMap::new();
        for domain in in_transit {
            *per_domain.entry(domain).or_insert(0) += 1;
        }
        let is_busy = |(_, messages): &(&String, &usize)| **messages >= MAX_PER_DOMAIN;
        let busy = per_domain.iter().filter(is_busy).map(|(domain, _)| domain.clone());
        let claim = Claim { urgent_only, busy: busy.take(BUSY_DOMAINS).collect(), limit };
        let first = Claim { limit: 1, ..claim.clone() };
        let is_waiting = move |c: &mut AnyConnection| {
            let clocks = clocks(c, now)?;
            Ok(!outbox::due(c, &first, clocks)?.is_empty())
        };
        if !self.db.read(is_waiting).await? {
            return Ok(Vec::new());
        }
        let this = self.clone();
        self.db
            .write(move |tx| {
                let clocks = clocks(tx.connection(), now)?;
                let mut per_domain = per_domain.clone();
                let mut claimed = Vec::new();
                for row in outbox::due(tx.connection(), &claim, clocks)? {
                    if let Some(outcome) = reason_to_abandon(tx.connection(), &row, now)? {
                        this.abandon(tx, &row, outcome, now)?;
                        continue;
                    }
                    let messages = per_domain.entry(row.domain().to_owned()).or_insert(0);
                    if *messages < MAX_PER_DOMAIN
                        && outbox::lease(tx.connection(), row.id, clocks.lease_now)?
                    {
                        *messages += 1;
                        claimed.push(row);
                    }
                }
                Ok(claimed)
            })
            .await
    }

    /// Stores the result of an attempt. A write that fails is repeated while the lease lasts: after
    /// that, the message is sent again.
    pub(super) async fn store_attempt(&self, tried: SendAttempt) -> Result<(), StoreError> {
        let (tried, now) = (Arc::new(tried), self.clock.now());
        let until = self.clock.monotonic() + LEASE;
        loop {
            let (this, tried) = (self.clone(), Arc::clone(&tried));
            let stored = self.db.write(move |tx| this.store_result(tx, &tried.0, &tried.1, now));
            let stored = stored.await;
            if stored.is_ok() || self.clock.monotonic() >= until {
                return stored;
            }
            sleep(STORE_RETRY_WAIT).await;
        }
    }

    fn store_result(
        &self,
        tx: &mut Tx<'_>,
        row: &MailRequest,
        result: &Result<(), SendError>,
        now: Timestamp,
    ) -> QueryResult<()> {
        let purpose = row.purpose();
        match result {
            Ok(()) => {
                let expires = self.expiry_of(row, now);
                if outbox::handed_over(tx.connection(), row.id, now, expires)? {
                    count(tx, &self.counters.sent, purpose);
                }
            }
            Err(error) if error.is_permanent() => {
                tracing::warn!(request = %row.id, purpose = purpose.as_str(), %error, "the mail server rejected a message");
                self.abandon(tx, row, "failed", now)?;
            }
            Err(error) => {
                tracing::warn!(request = %row.id, purpose = purpose.as_str(), %error, "a message was not sent; it is retried");
                // A server that ended the connection may have accepted the message: without a
                // growing wait, its recipient would get a copy every few seconds.
                let is_tried = !error.is_unreachable();
                // The server may have accepted it, and its answer was lost.
                let tried_at = clocks(tx.connection(), now)?.lease_now;
                let postponed =
                    Postponed { next: next_attempt(row, error, now), tried_at, is_tried };
                if outbox::postpone(tx.connection(), row.id, &postponed)? {
                    count(tx, &self.counters.retried, purpose);
                }
            }
        }
        Ok(())
    }

    fn abandon(
        &self,
        tx: &mut Tx<'_>,
        row: &MailRequest,
        outcome: &'static str,
        now: Timestamp,
    ) -> QueryResult<()> {
        // Only the node whose statement changed the row records it.
        if outbox::abandon(tx.connection(), row.id, outcome, self.expiry_of(row, now))?
            && outcome == "failed"
        {
            let purpose = row.purpose();
            let failed = Event::new(EventKind::MailFailed).with_detail(purpose.as_str());
            // The requester of another address would learn that a message was sent, and so
            // whether the address has an account.
            let user = row.user_id.filter(|_| purpose != MailPurpose::EmailChange);
            let failed = user.map_or(failed.clone(), |user| failed.with_user(user));
            audit::record(tx, failed, now)?;
            count(tx, &self.counters.failed, purpose);
        }
        Ok(())
    }
}

/// The clock of leases is the database's, if it has one, because the clocks of nodes differ.
fn clocks(connection: &mut AnyConnection, now: Timestamp) -> QueryResult<SendClocks> {
    Ok(SendClocks { now, lease_now: time::server_time(connection)?.unwrap_or(now) })
}

/// The outcome of a message that must not be sent: it is too old, or its link and code would not
/// be valid.
fn reason_to_abandon(
    connection: &mut AnyConnection,
    row: &MailRequest,
    now: Timestamp,
) -> QueryResult<Option<&'static str>> {
    if now >= row.created_at.plus(RETRY_FOR) {
        return Ok(Some("failed"));
    }
    // Other messages have neither link nor code, and none of them becomes stale.
    if !row.message().is_some_and(MessageKind::is_proof) {
        return Ok(None);
    }
    let is_stale = match row.user_id {
        Some(user) if row.invited_until().is_some() => {
            !queries::is_invited(connection, user, &row.address)?
        }
        Some(user) => queries::version_of(connection, user)? != row.credentials_version,
        None => false,
    };
    Ok((row.is_used() || is_stale).then_some("superseded"))
}

/// When a message is tried again.
fn next_attempt(row: &MailRequest, error: &SendError, now: Timestamp) -> Timestamp {
    if error.is_unreachable() {
        // It keeps its place in the order.
        row.created_at
    } else {
        // Behind the others: if this message is the cause, it does not delay them.
        now.plus(backoff(row.send_attempts))
    }
}

/// The wait after an attempt that reached the server.
fn backoff(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or(0).min(8) * 2;
    FIRST_RETRY_WAIT.saturating_mul(1 << doublings).min(MAX_RETRY_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_from_five_seconds_to_an_hour_apart() {
        let waits: Vec<u64> = (0..8).map(|attempts| backoff(attempts).as_secs()).collect();
        assert_eq!(waits, [5, 20, 80, 320, 1280, 3600, 3600, 3600]);
    }
}
