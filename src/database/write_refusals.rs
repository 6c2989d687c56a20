//! Tracks whether the database rejects writes while reads may succeed, as on a full disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::SimpleConnection as _;

use super::{Database, StoreError};

/// A write to the disk that changes nothing. There is always a key.
const PROBE: &str = "UPDATE signing_keys SET state = state \
                     WHERE kid = (SELECT min(kid) FROM signing_keys)";

/// Whether a write was rejected, without a known success since. Clones share it.
#[derive(Clone, Default)]
pub(super) struct WriteRefusals(Arc<AtomicBool>);

impl WriteRefusals {
    /// Records a rejected write. A success is not recorded: the unit may have changed nothing.
    pub(super) fn record<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(result, Err(StoreError::Unavailable)) {
            self.0.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Database {
    /// Whether a write was rejected (the disk is full, the database is locked or unavailable) and
    /// none has succeeded since. Reads may succeed.
    #[must_use]
    pub fn refuses_writes(&self) -> bool {
        self.write_refusals.0.load(Ordering::Relaxed)
    }

    /// Tries to write, if a write was rejected; to be called about once a second.
    pub async fn probe_writes(&self) {
        if self.refuses_writes() {
            let written = self.write(|tx| tx.connection().batch_execute(PROBE)).await;
            if written.is_ok() {
                tracing::info!("the database accepts writes again");
                self.write_refusals.0.store(false, Ordering::Relaxed);
            }
        }
    }
}
