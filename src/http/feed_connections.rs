//! The feeds of revocations that each client has open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::database::Id;

/// Feeds of one client at most, a fifth of all: the processes of other services have to find a
/// place, too.
pub const OF_ONE_CLIENT: usize = 1_000;

/// How many feeds each client has open. Clones share the count.
#[derive(Clone, Default)]
pub struct FeedPlaces(Arc<Mutex<HashMap<Id, usize>>>);

/// One feed of a client, until it is dropped.
pub struct FeedPlace {
    all: FeedPlaces,
    client: Id,
}

impl FeedPlaces {
    /// A place for one more feed of this client; nothing when it has as many as it may.
    #[must_use]
    pub fn take(&self, client: Id) -> Option<FeedPlace> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        if *count >= OF_ONE_CLIENT {
            return None;
        }
        *count += 1;
        Some(FeedPlace { all: self.clone(), client })
    }
}

impl Drop for FeedPlace {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}
