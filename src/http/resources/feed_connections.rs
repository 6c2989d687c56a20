//! The feed connections that each client has open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::database::Id;
use crate::locks;

/// The maximum number of feed connections of one client, a fifth of all: other services need some,
/// too.
pub const MAX_PER_CLIENT: usize = 1_000;

/// The number of open feed connections of each client. Clones share the count.
#[derive(Clone, Default)]
pub struct FeedConnections(Arc<Mutex<HashMap<Id, usize>>>);

/// One feed connection of a client, counted until it is dropped.
pub struct FeedConnection {
    all: FeedConnections,
    client: Id,
}

impl FeedConnections {
    /// Counts one more feed connection of this client; `None` when it has the maximum.
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
