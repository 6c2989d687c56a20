//! The time that one request may wait for the database.

use std::cell::Cell;
use std::time::Duration;

tokio::task_local! {
    /// How long the request of this task has waited for PostgreSQL.
    pub(super) static TIME_WAITED: Cell<Duration>;
}

/// Runs a request with one deadline for all its units of work: together they wait for an
/// unresponsive database no longer than a single unit may.
pub async fn with_database_deadline<F: Future>(request: F) -> F::Output {
    TIME_WAITED.scope(Cell::new(Duration::ZERO), request).await
}
