//! Subscribes to the issuer's revocation feed.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tracing::debug;

use super::Shared;
use super::backoff::{self, Backoff};
use super::issuer::{FetchError, Issuer};
use super::revocation_list::{ApplyError, FeedEntry};
use super::sse::{Event, Parser, Unreadable};
use super::suspend_aware_clock::Stamp;

/// How long a new stream may take to report that it is complete: a long snapshot on a slow line.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a stream may go without another such report. The feed sends one every two seconds, and
/// guarantees one every five.
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream that broke earlier than this does not reset the backoff.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// How often expired entries are purged from the list.
const PURGE_INTERVAL: Duration = Duration::from_secs(30);

/// Why a stream has ended.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error("the feed cannot be opened: {0}")]
    Refused(#[from] FetchError),
    #[error("the feed was interrupted: {0}")]
    Interrupted(String),
    #[error("the feed has ended")]
    Ended,
    #[error("the feed was silent for too long")]
    TimedOut,
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    #[error("the feed is malformed ({0})")]
    Malformed(&'static str),
    #[error(transparent)]
    NotApplied(#[from] ApplyError),
}

impl FeedError {
    /// Whether an event was, or may have been, missed: resuming after the last id would not recover
    /// it, so everything is requested again.
    const fn needs_full_list(&self) -> bool {
        match self {
            Self::Unreadable(_) | Self::Malformed(_) | Self::NotApplied(_) => true,
            // A server that rejects the id, with any status.
            Self::Refused(error) => matches!(error, FetchError::Status(_)),
            Self::Interrupted(_) | Self::Ended | Self::TimedOut => false,
        }
    }
}

/// Keeps the subscription open, with backoff between connections, until the task is aborted.
pub(super) async fn run(shared: Arc<Shared>, issuer: Arc<Issuer>) {
    let mut backoff = Backoff::new();
    let mut last_id = None;
    loop {
        let opened = Stamp::now(&shared.clock);
        if shared.revoked.begin() {
            last_id = None;
            // The age of the keys is unknown, too.
            shared.keys.refetch();
        }
        let mut stream = Stream::new(&shared, &mut last_id);
        let broken = stream.run(&issuer).await;
        if stream.is_current && opened.elapsed(&shared.clock) >= STABLE_AFTER {
            backoff.reset();
        }
        let retry = stream.parser.retry().unwrap_or_default();
        if broken.needs_full_list() {
            last_id = None;
        }
        shared.report("feed", Some(broken.to_string()));
        let wait = backoff.wait().max(retry).min(backoff::MAX_DELAY);
        debug!(?wait, "the feed is reopened");
        tokio::time::sleep(wait).await;
    }
}

/// One connection.
struct Stream<'a> {
    shared: &'a Shared,
    /// The last event that was processed.
    last_id: &'a mut Option<String>,
    parser: Parser,
    /// When the list was last reported complete; at first, when the stream began.
    last_current_at: Stamp,
    is_current: bool,
    purged: Stamp,
}

impl<'a> Stream<'a> {
    fn new(shared: &'a Shared, last_id: &'a mut Option<String>) -> Self {
        // Expired entries may have left space in a list that was full.
        shared.revoked.purge();
        let now = Stamp::now(&shared.clock);
        Self {
            shared,
            last_id,
            parser: Parser::default(),
            last_current_at: now,
            is_current: false,
            purged: now,
        }
    }

    async fn run(&mut self, issuer: &Issuer) -> FeedError {
        match self.read(issuer).await {
            Ok(()) => FeedError::Ended,
            Err(broken) => broken,
        }
    }

    async fn read(&mut self, issuer: &Issuer) -> Result<(), FeedError> {
        let mut response = issuer.feed(self.last_id.as_deref()).await?;
        self.last_current_at = Stamp::now(&self.shared.clock);
        loop {
            let chunk = tokio::time::timeout(self.silence_timeout()?, response.chunk()).await;
            let chunk = chunk.map_err(|_| FeedError::TimedOut)?;
            let Some(chunk) = chunk.map_err(|error| FeedError::Interrupted(error.to_string()))?
            else {
                return Ok(());
            };
            // After the machine was suspended or this process paused, buffered data may report
            // "complete" for a time long past.
            self.silence_timeout()?;
            let mut parser = std::mem::take(&mut self.parser);
            let taken = parser.push(&chunk, |event| self.take(event));
            self.parser = parser;
            taken?;
        }
    }

    /// How much longer this stream may go without reporting that the list is complete.
    fn silence_timeout(&self) -> Result<Duration, FeedError> {
        let whole = if self.is_current {
            SILENCE_TIMEOUT.min(self.shared.policy.max_staleness)
        } else {
            SNAPSHOT_TIMEOUT
        };
        let left = whole.checked_sub(self.last_current_at.elapsed(&self.shared.clock));
        left.filter(|left| !left.is_zero()).ok_or(FeedError::TimedOut)
    }

    fn take(&mut self, event: Event) -> Result<(), FeedError> {
        match event.name.as_str() {
            "snapshot" | "revoked" => {
                let entries: Vec<FeedEntry> =
                    serde_json::from_str(&event.data).map_err(|_| FeedError::Malformed("ids"))?;
                self.revoke(entries)?;
            }
            "current" => self.current(&event.data)?,
            // Events of later versions.
            _ => {}
        }
        if event.id.is_some() {
            *self.last_id = event.id;
        }
        Ok(())
    }

    fn revoke(&self, entries: Vec<FeedEntry>) -> Result<(), FeedError> {
        // A revoked key is likely to have a successor that is not known yet.
        let keys = self.shared.keys.current();
        let names_a_key = keys.is_some_and(|set| entries.iter().any(|e| set.key(&e.id).is_some()));
        self.shared.revoked.add(entries)?;
        if names_a_key {
            self.shared.keys.refetch();
        }
        Ok(())
    }

    fn current(&mut self, data: &str) -> Result<(), FeedError> {
        #[derive(Deserialize)]
        struct Current {
            age: f64,
        }

        let age = serde_json::from_str(data).ok().map(|Current { age }| age);
        let age = age.and_then(|age| Duration::try_from_secs_f64(age).ok());
        self.shared.revoked.complete(age.ok_or(FeedError::Malformed("the field age"))?)?;
        self.last_current_at = Stamp::now(&self.shared.clock);
        self.is_current = true;
        if self.purged.elapsed(&self.shared.clock) >= PURGE_INTERVAL {
            self.purged = self.last_current_at;
            self.shared.revoked.purge();
        }
        self.shared.report("feed", None);
        Ok(())
    }
}
