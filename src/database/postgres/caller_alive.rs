//! Whether the caller of a unit still waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// Whether the caller of a unit is still waiting. A caller that got an error may have retried and
/// continued since: then the unit would mistake that retry for a reuse of the token.
#[derive(Clone, Default)]
pub(in crate::database) struct CallerAlive(Arc<AtomicBool>);

impl CallerAlive {
    pub(super) fn mark_gone(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(in crate::database) fn ensure_alive(&self) -> QueryResult<()> {
        if self.0.load(Ordering::Relaxed) {
            let why = Box::new("the caller of this unit of work is no longer waiting".to_owned());
            return Err(DieselError::DatabaseError(DatabaseErrorKind::Unknown, why));
        }
        Ok(())
    }
}
