//! Counts refreshes by outcome, and live sessions.

use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::refresh::{RefreshError, Refusal};
use super::{Sessions, queries};
use crate::database::StoreError;
use crate::metrics::{Counter, EncodeLabelSet, Family, counters};
use crate::named::named;

named! {
    /// The outcome of a refresh.
    pub enum RefreshOutcome {
        /// A new refresh token was issued.
        Rotated = "rotated",
        /// Another request had rotated within the retry window: the same response again.
        ConcurrentReplay = "concurrent_replay",
        /// A client that proved its retry by the key got the response again.
        ProvenRetry = "proven_retry",
        /// A client without a key got a lost response again, once.
        Forgiven = "forgiven",
        /// An already rotated token was used again, and its session ended.
        ReuseEnded = "reuse_ended",
        /// The session had been ended.
        Ended = "ended",
        /// The session had expired.
        Expired = "expired",
        /// It was not a refresh token of a session here.
        Unknown = "unknown",
        /// It was issued to another client, or the client is unknown.
        WrongClient = "wrong_client",
        /// The database did not answer, or the tokens could not be signed.
        Failed = "failed",
    }
}

/// The label of the refreshes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefreshLabel {
    /// The outcome of the refresh.
    pub outcome: RefreshOutcome,
}

/// Refreshes by their outcome.
pub type RefreshCounters = Family<RefreshLabel, Counter>;

pub(super) fn refresh_counters() -> RefreshCounters {
    counters(RefreshOutcome::ALL.iter().map(|&outcome| RefreshLabel { outcome }))
}

impl RefreshOutcome {
    pub(super) const fn of(error: &RefreshError) -> Self {
        match error {
            RefreshError::Refused(Refusal::UnknownToken) => Self::Unknown,
            RefreshError::Refused(Refusal::WrongClient) | RefreshError::Client(_) => {
                Self::WrongClient
            }
            RefreshError::Refused(Refusal::Expired) => Self::Expired,
            RefreshError::Refused(Refusal::Reused) => Self::ReuseEnded,
            RefreshError::Refused(Refusal::Ended(_)) => Self::Ended,
            RefreshError::Issue(_) => Self::Failed,
        }
    }
}

impl Sessions {
    /// The number of access tokens in the cache of verified signatures.
    #[must_use]
    pub fn token_cache_entries(&self) -> usize {
        self.verified.len()
    }

    /// The refreshes since the start.
    #[must_use]
    pub const fn refreshes(&self) -> &RefreshCounters {
        &self.refreshes
    }

    /// The access tokens since the start that were longer than `tokens.max_bytes`.
    #[must_use]
    pub fn oversized_tokens(&self) -> u64 {
        self.oversized.load(Ordering::Relaxed)
    }

    /// Counts a token that is too long. The first one is also logged.
    pub(super) fn count_oversized(&self, sub: Uuid, bytes: usize) {
        if self.oversized.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(%sub, bytes, "an access token is longer than tokens.max_bytes");
        }
    }

    pub(super) fn count_refresh(&self, outcome: RefreshOutcome) {
        self.refreshes.get_or_create(&RefreshLabel { outcome }).inc();
    }

    /// Counts a refresh whose token was malformed.
    pub fn record_malformed_token(&self) {
        self.count_refresh(RefreshOutcome::Unknown);
    }

    /// The number of live sessions.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let count = self.db.read(move |c| queries::count_all_live(c, now)).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
