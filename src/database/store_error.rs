//! The error of a unit of work, and its log line.

use std::fmt;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tokio::time::Instant;

use super::connection_refusals::RefusalReason;
use crate::log_rate_limit::LogRateLimit;

/// Why a unit of work was not committed, as far as is known
/// ([`Database::write`](super::Database::write)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database is unavailable: unreachable, locked, full, or too busy. A retry is appropriate.
    #[error("the database is not available")]
    Unavailable,
    /// The unit itself failed: a bug here.
    #[error("the unit of work failed")]
    Failed,
}

/// Background tasks and every request encounter an unavailable database, many times a second.
static UNAVAILABLE_LINES: LogRateLimit = LogRateLimit::new(2, Duration::from_secs(60));

pub(super) fn unavailable(error: &dyn fmt::Display) -> StoreError {
    let reason = RefusalReason::of(&error.to_string());
    if reason == Some(RefusalReason::Full) {
        // The pool has logged the reason; this line would repeat it for every request.
        tracing::debug!(%error, "no connection to the database");
    } else {
        let remedy = reason.map(RefusalReason::remedy);
        if let Some(left_out) = UNAVAILABLE_LINES.allow_line(Instant::now().into_std()) {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::error!(%error, remedy, left_out, "the database is not available");
        }
    }
    StoreError::Unavailable
}

pub(super) fn classify(error: &DieselError) -> StoreError {
    use DatabaseErrorKind as Kind;
    match error {
        DieselError::DatabaseError(
            Kind::UniqueViolation
            | Kind::ForeignKeyViolation
            | Kind::NotNullViolation
            | Kind::CheckViolation,
            _,
        )
        | DieselError::NotFound
        | DieselError::RollbackTransaction
        | DieselError::DeserializationError(_)
        | DieselError::SerializationError(_)
        | DieselError::QueryBuilderError(_)
        | DieselError::InvalidCString(_) => {
            tracing::error!(%error, "a unit of work failed");
            StoreError::Failed
        }
        _ => unavailable(error),
    }
}
