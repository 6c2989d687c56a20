//! The feeds of revocations that each client has open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::database::Id;
use crate::locks;

/// Feeds of one client at most, a fifth of all: the processes of other services have to find a
/// place, too.
pub const MAX_PER_CLIENT: usize = 1_000;

/// How many feeds each client has open. Clones share the count.
#[derive(Clone, Default)]
pub struct FeedConnections(Arc<Mutex<HashMap<Id, usize>>>);

/// One feed of a client, until it is dropped.
pub struct FeedConnection {
    all: FeedConnections,
    client: Id,
}

impl FeedConnections {
    /// A place for one more feed of this client; nothing when it has as many as it may.
    #[must_use]
    pub fn acquire(&self, client: Id) -> Option<FeedConnection> {
        let mut counts = locks::lock(&self.0);
        let count = counts.entry(client).or_default();
        if *count >= MAX_PER_CLIENT {
            return None;
        }
        *count += 1;
        Some(FeedConnection { all: self.clone(), client })
    }
}

impl Drop for FeedConnection {
    fn drop(&mut self) {
        let mut counts = locks::lock(&self.all.0);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}
