//! What ends all writes to SQLite's files until a restart: they are no longer those that were opened,
//! or what is in them makes no sense.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::{StoreError, classify, unavailable};

/// SQLite's texts for what makes no sense (`SQLITE_NOTADB` and `SQLITE_CORRUPT`), for diesel passes
/// on no code of it. The last is followed by the name of a table.
const DAMAGE_MESSAGES: [&str; 3] =
    ["file is not a database", "database disk image is malformed", "malformed database schema ("];

const OVERWRITTEN: &str = "the database or its log (-wal) was overwritten or damaged";

/// Why nothing can be written until a restart; set once. Clones share it.
#[derive(Clone)]
pub(super) struct StorageFault(Arc<Shared>);

struct Shared {
    database: PathBuf,
    found: OnceLock<&'static str>,
}

impl StorageFault {
    /// None yet.
    pub(super) fn new(database: &Path) -> Self {
        Self(Arc::new(Shared { database: database.to_owned(), found: OnceLock::new() }))
    }

    pub(super) fn get(&self) -> Option<&'static str> {
        self.0.found.get().copied()
    }

    /// Whether the log may be damaged, so that none of it may get into the database any more.
    pub(super) fn keeps_log_out(&self) -> bool {
        self.get() == Some(OVERWRITTEN)
    }

    /// Sets it, and tells of it once.
    pub(super) fn set(&self, found: &'static str) {
        if self.0.found.set(found).is_ok() {
            tracing::error!(
                database = %self.0.database.display(),
                "{found} while the service runs; nothing is written any more: copy what is there, \
                 put the files back or restore a backup, and start the service again"
            );
        }
    }

    /// Sets it if SQLite says so; whether it does.
    pub(super) fn set_if_damaged(&self, error: &impl fmt::Display) -> bool {
        let text = error.to_string();
        let is_damaged = DAMAGE_MESSAGES.iter().any(|words| text.contains(words));
        if is_damaged {
            self.set(OVERWRITTEN);
        }
        is_damaged
    }

    /// The same as [`classify`], without a line for each unit that comes upon it once the fault is
    /// set.
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
