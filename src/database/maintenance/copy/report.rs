//! The progress and the result of a copy.

use std::fmt;

use super::TableChecksum;
use crate::database::OpenError;

/// One of the two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyRole {
    /// The one to read from.
    Source,
    /// The one to fill.
    Target,
}

impl fmt::Display for CopyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Why a copy or a comparison failed; each message says what to do. The target is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A database is unusable.
    #[error("the {0}: {1}")]
    Open(CopyRole, OpenError),
    /// Its schema is not this version's.
    #[error(
        "the {0} lacks migration {1}; run `doorward db migrate --database-url URL` with its URL \
         first"
    )]
    Outdated(CopyRole, String),
    /// The target has rows.
    #[error(
        "the target is not empty: its table {0} has rows; name a new database, or recreate this \
         one if it holds only the data of a first start (nothing was changed)"
    )]
    NotEmpty(&'static str),
    /// Both URLs name the same database.
    #[error("the source and the target are the same database; name two")]
    Same,
    /// Another process writes.
    #[error(
        "the {0} cannot be locked against writes ({1}); stop Doorward on every node, then try \
         again (nothing was changed)"
    )]
    Busy(CopyRole, String),
    /// A statement failed.
    #[error("the {0} failed ({1}); nothing was changed: fix the cause, then try again")]
    Failed(CopyRole, String),
}

/// The progress of a copy.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The current table.
    pub table: &'static str,
    /// The current step.
    pub step: CopyStep,
    /// Rows processed.
    pub done: u64,
    /// Rows in total.
    pub of: u64,
}

/// A step of processing a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStep {
    /// Its rows go from the source to the target.
    Copy,
    /// Its rows are read and their checksum is computed.
    Compare(CopyRole),
}

/// A table's checksums on both sides.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Its name.
    pub table: &'static str,
    /// Its rows in the source.
    pub source: TableChecksum,
    /// Its rows in the target.
    pub target: TableChecksum,
}

impl Compared {
    /// Whether both sides hold the same rows.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.source == self.target
    }
}
