//! Follows the issuer's feed of revocations.

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

/// How long a new stream may take to say that it is complete: a long snapshot on a slow line.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a stream may go without saying it again, at most. The feed does so every two seconds,
/// and promises every five.
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream that broke earlier than this does not start the waits from the beginning.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// How often the list is looked through for what may be forgotten.
const PURGE_INTERVAL: Duration = Duration::from_secs(30);

/// Why a stream is over.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error("the feed cannot be opened: {0}")]
    Refused(#[from] FetchError),
    #[error("the feed broke: {0}")]
    Interrupted(String),
    #[error("the feed has ended")]
    Ended,
    #[error("the feed was silent for too long")]
    TimedOut,
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    #[error("the feed says something that cannot be read ({0})")]
    Malformed(&'static str),
    #[error(transparent)]
    NotApplied(#[from] ApplyError),
}

impl FeedError {
    /// Whether something was, or may have been, missed: what comes after the last id would not
    /// repair that, so all is asked for again.
    const fn needs_everything(&self) -> bool {
        match self {
            Self::Unreadable(_) | Self::Malformed(_) | Self::NotApplied(_) => true,
            // A server that does not take the id, in whatever way it says so.
            Self::Refused(error) => matches!(error, FetchError::Status(_)),
            Self::Interrupted(_) | Self::Ended | Self::TimedOut => false,
        }
    }
}

/// Follows the feed for ever.
pub(super) async fn run(shared: Arc<Shared>, issuer: Arc<Issuer>) {
    let mut backoff = Backoff::new();
    let mut last_id = None;
    loop {
        let opened = Stamp::now(&shared.clock);
        if shared.revoked.begin() {
            last_id = None;
            // Nor is the age of the keys known.
            shared.keys.refetch();
        }
        let mut stream = Stream::new(&shared, &mut last_id);
        let broken = stream.run(&issuer).await;
        if stream.is_current && opened.elapsed(&shared.clock) >= STABLE_AFTER {
            backoff.reset();
        }
        let retry = stream.parser.retry().unwrap_or_default();
        if broken.needs_everything() {
            last_id = None;
        }
        shared.report("feed", Some(broken.to_string()));
        let wait = backoff.wait().max(retry).min(backoff::MAX_DELAY);
        debug!(?wait, "the feed is opened again");
        tokio::time::sleep(wait).await;
    }
}

/// One connection.
struct Stream<'a> {
    shared: &'a Shared,
    /// The last event that was taken in.
    last_id: &'a mut Option<String>,
    parser: Parser,
    /// When it was last heard that the list is complete; at first, when the stream began.
    heard: Stamp,
    is_current: bool,
    purged: Stamp,
}

impl<'a> Stream<'a> {
    fn new(shared: &'a Shared, last_id: &'a mut Option<String>) -> Self {
        // Also after a list that was too long: it may have grown shorter.
        shared.revoked.purge();
        let now = Stamp::now(&shared.clock);
        Self {
            shared,
            last_id,
            parser: Parser::default(),
            heard: now,
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
        self.heard = Stamp::now(&self.shared.clock);
        loop {
            let chunk = tokio::time::timeout(self.silence_timeout()?, response.chunk()).await;
            let chunk = chunk.map_err(|_| FeedError::TimedOut)?;
            let Some(chunk) = chunk.map_err(|error| FeedError::Interrupted(error.to_string()))?
            else {
                return Ok(());
            };
            // After a sleep of the machine, or a pause of this process, what lies in the buffers
            // may say "complete" of a time that is long over.
            self.silence_timeout()?;
            let mut parser = std::mem::take(&mut self.parser);
            let taken = parser.push(&chunk, |event| self.take(event));
            self.parser = parser;
            taken?;
        }
    }

    /// How much longer this stream may go without saying that the list is complete.
    fn silence_timeout(&self) -> Result<Duration, FeedError> {
        let whole = if self.is_current {
            SILENCE_TIMEOUT.min(self.shared.policy.max_staleness)
        } else {
            SNAPSHOT_TIMEOUT
        };
        let left = whole.checked_sub(self.heard.elapsed(&self.shared.clock));
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
            // What later versions may have to say.
            _ => {}
        }
        if event.id.is_some() {
            *self.last_id = event.id;
        }
        Ok(())
    }

    fn revoke(&self, entries: Vec<FeedEntry>) -> Result<(), FeedError> {
        // A key that was taken back is likely to have a successor that is not known yet.
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
        self.shared.revoked.complete(age.ok_or(FeedError::Malformed("its age"))?)?;
        self.heard = Stamp::now(&self.shared.clock);
        self.is_current = true;
        if self.purged.elapsed(&self.shared.clock) >= PURGE_INTERVAL {
            self.purged = self.heard;
            self.shared.revoked.purge();
        }
        self.shared.report("feed", None);
        Ok(())
    }
}
