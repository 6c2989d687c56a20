//! What becomes of refreshes, counted; and how many sessions there are.

use super::refresh::{RefreshError, Refusal};
use super::{Sessions, queries};
use crate::database::StoreError;
use crate::metrics::{CounterFamily, LabelValue};

/// What became of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// The next refresh token was answered.
    Rotated,
    /// Another request had rotated within the retry window: the same answer again.
    ConcurrentReplay,
    /// A client that proved by its key that it asks again got the answer again.
    ProvenRetry,
    /// A client without a key got a lost answer again, for once.
    Forgiven,
    /// A spent token was used again, and its session ended.
    ReuseEnded,
    /// The session had been ended.
    Ended,
    /// The session had expired.
    Expired,
    /// It was no refresh token of a session here.
    Unknown,
    /// It was another client's, or the client is not known.
    WrongClient,
    /// The database did not answer, or the tokens could not be signed.
    Failed,
}

impl LabelValue for RefreshOutcome {
    const ALL: &'static [Self] = &[
        Self::Rotated,
        Self::ConcurrentReplay,
        Self::ProvenRetry,
        Self::Forgiven,
        Self::ReuseEnded,
        Self::Ended,
        Self::Expired,
        Self::Unknown,
        Self::WrongClient,
        Self::Failed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::ConcurrentReplay => "concurrent_replay",
            Self::ProvenRetry => "proven_retry",
            Self::Forgiven => "forgiven",
            Self::ReuseEnded => "reuse_ended",
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::WrongClient => "wrong_client",
            Self::Failed => "failed",
        }
    }
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
    /// How many access tokens are remembered whose signatures were found right.
    #[must_use]
    pub fn token_cache_entries(&self) -> usize {
        self.verified.len()
    }

    /// What became of refreshes since the start.
    #[must_use]
    pub const fn refreshes(&self) -> &CounterFamily<RefreshOutcome> {
        &self.refreshes
    }

    /// Counts a refresh whose token could not even be read.
    pub fn record_malformed_token(&self) {
        self.refreshes.count(RefreshOutcome::Unknown);
    }

    /// How many sessions are live.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let count = self.db.read(move |c| queries::count_all_live(c, now)).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
