//! Whether the database refuses writes while it may still be read: on a full disk, for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::SimpleConnection as _;

use super::{Database, StoreError};

/// Writes to the disk and changes nothing. There always is a key.
const PROBE: &str = "UPDATE signing_keys SET state = state \
                     WHERE kid = (SELECT min(kid) FROM signing_keys)";

/// Whether a write was refused, and none is known to have succeeded since. Clones share it.
#[derive(Clone, Default)]
pub(super) struct WriteRefusals(Arc<AtomicBool>);

impl WriteRefusals {
    /// Remembers that a write was refused. One that succeeded says little: it may have changed
    /// nothing.
    pub(super) fn record<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(result, Err(StoreError::Unavailable)) {
            self.0.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Database {
    /// Whether a write was refused (the disk is full, the database is locked or away), and none has
    /// succeeded since. Reading may go on.
    #[must_use]
    pub fn refuses_writes(&self) -> bool {
        self.write_refusals.0.load(Ordering::Relaxed)
    }

    /// Tries to write, if a write was refused; to be called about once a second.
    pub async fn probe_writes(&self) {
        if self.refuses_writes() {
            let written = self.write(|tx| tx.connection().batch_execute(PROBE)).await;
            if written.is_ok() {
                tracing::info!("the database takes writes again");
                self.write_refusals.0.store(false, Ordering::Relaxed);
            }
        }
    }
}
