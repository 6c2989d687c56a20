//! Reloads the stored keys when a token names an unknown one: another node may have created it
//! since.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{KeyRing, Keys, queries};
use crate::locks;

/// The minimum interval between reloads for unknown keys: a forger can name any number of them.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(5);

/// When the keys were last reloaded for an unknown one, and whether that succeeded. Clones share
/// it; only one reload runs at a time.
#[derive(Clone, Default)]
pub(super) struct LookupThrottle(Arc<Mutex<Option<(Instant, bool)>>>);

/// The result of looking up an unknown key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLookup {
    /// The key is known now.
    Found,
    /// There is no such key, or the last reload is too recent.
    Unknown,
    /// The database did not answer.
    Unanswered,
}

impl Keys {
    /// Looks up the key with this `kid` by reloading the keys, at most every 5 s for all keys
    /// together.
    pub async fn look_up(&self, kid: &str) -> KeyLookup {
        let mut last = self.lookups.0.lock().await;
        if self.verifying(kid).is_some() {
            return KeyLookup::Found;
        }
        let now = self.clock.monotonic();
        let answered = match *last {
            Some((at, answered)) if now.saturating_duration_since(at) < LOOKUP_INTERVAL => answered,
            _ => {
                let answered = self.reload().await;
                *last = Some((now, answered));
                answered
            }
        };
        match (self.verifying(kid), answered) {
            (Some(_), _) => KeyLookup::Found,
            (None, true) => KeyLookup::Unknown,
            (None, false) => KeyLookup::Unanswered,
        }
    }

    /// Loads the stored keys; false when they could not be read.
    async fn reload(&self) -> bool {
        let _reload_lock = self.reload_lock.lock().await;
        let Ok(rows) = self.db.read(queries::load).await else { return false };
        match KeyRing::build(&rows, &self.seal, &self.policy) {
            Ok(ring) => {
                *locks::write(&self.ring) = Arc::new(ring);
            }
            // The next maintenance reports the same, and keeps the keys unchanged.
            Err(error) => tracing::error!(%error, "the stored signing keys are unusable"),
        }
        true
    }
}
