//! Reasons to reject all writes to SQLite's files until a restart: the files are no longer the ones
//! that were opened, or their content is damaged.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::{StoreError, classify, unavailable};

/// SQLite's texts for damaged content (`SQLITE_NOTADB` and `SQLITE_CORRUPT`): diesel does not pass
/// on their codes. The last one is followed by a table name.
const DAMAGE_MESSAGES: [&str; 3] =
    ["file is not a database", "database disk image is malformed", "malformed database schema ("];

const OVERWRITTEN: &str = "the database or its log (-wal) was overwritten or damaged";

/// Why writes are rejected until a restart; set once. Clones share it.
#[derive(Clone)]
pub(super) struct StorageFault(Arc<FaultState>);

struct FaultState {
    database: PathBuf,
    found: OnceLock<&'static str>,
}

impl StorageFault {
    /// No fault.
    pub(super) fn new(database: &Path) -> Self {
        Self(Arc::new(FaultState { database: database.to_owned(), found: OnceLock::new() }))
    }

    pub(super) fn get(&self) -> Option<&'static str> {
        self.0.found.get().copied()
    }

    /// Whether the log may be damaged, so that no checkpoint may copy it into the database.
    pub(super) fn forbids_checkpoints(&self) -> bool {
        self.get() == Some(OVERWRITTEN)
    }

    /// Sets the fault, and logs it once.
    pub(super) fn set(&self, found: &'static str) {
        if self.0.found.set(found).is_ok() {
            tracing::error!(
                database = %self.0.database.display(),
                "{found} while the service runs; writes are rejected from now on: copy the \
                 remaining files, put the originals back or restore a backup, and start the \
                 service again"
            );
        }
    }

    /// Sets the fault if this error of SQLite reports damage.
    pub(super) fn set_if_damaged(&self, error: &impl fmt::Display) -> bool {
        let text = error.to_string();
        let is_damaged = DAMAGE_MESSAGES.iter().any(|words| text.contains(words));
        if is_damaged {
            self.set(OVERWRITTEN);
        }
        is_damaged
    }

    /// Classifies like [`classify`], but does not log each failed unit after the fault was set.
    pub(super) fn classify(&self, error: &DieselError) -> StoreError {
        match error {
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, about) if self.is_known() => {
                tracing::debug!(error = about.message(), "the database is not available");
                StoreError::Unavailable
            }
            DieselError::DatabaseError(_, about) if self.set_if_damaged(&about.message()) => {
                StoreError::Unavailable
            }
            _ => classify(error),
        }
    }

    /// The same as [`unavailable`].
    pub(super) fn unavailable(&self, error: &impl fmt::Display) -> StoreError {
        if self.set_if_damaged(error) || self.is_known() {
            StoreError::Unavailable
        } else {
            unavailable(error)
        }
    }

    fn is_known(&self) -> bool {
        self.get().is_some()
    }
}
