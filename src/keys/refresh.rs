//! A second look at the stored keys when a token names one that this node does not know: another
//! node may have made it since.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{KeyRing, Keys, queries};
use crate::locks;

/// How often the database is asked for keys that are not known, at most: a forger names as many as
/// he likes.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(5);

/// When unknown keys were last looked for, and whether there was an answer. Clones share it; only
/// one looks at a time.
#[derive(Clone, Default)]
pub(super) struct RefreshThrottle(Arc<Mutex<Option<(Instant, bool)>>>);

/// What a look for an unknown key came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLookup {
    /// The key is known now.
    Found,
    /// There is no such key, or nobody looked because somebody just has.
    Unknown,
    /// The database did not say.
    Unanswered,
}

impl Keys {
    /// Looks once more for the key that `kid` names, at most every 5 s for all keys together.
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

    /// Takes over the keys as they are stored; false when they could not be read.
    async fn reload(&self) -> bool {
        let _reload_lock = self.reload_lock.lock().await;
        let Ok(rows) = self.db.read(queries::load).await else { return false };
        match KeyRing::build(&rows, &self.seal, &self.policy) {
            Ok(ring) => {
                *locks::write(&self.ring) = Arc::new(ring);
            }
            // The next maintenance says the same, and keeps the keys as they are.
            Err(error) => tracing::error!(%error, "the stored signing keys cannot be used"),
        }
        true
    }
}
