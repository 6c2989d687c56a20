//! The load of the database's connections.

use std::sync::atomic::Ordering;

use super::{Backend, Database};
use crate::metrics::Histogram;

/// The load of the database's connections.
#[derive(Clone, Debug)]
pub struct Load {
    /// Open connections in the pool.
    pub connections: u32,
    /// Idle ones among them.
    pub idle: u32,
    /// Statements that they have run since the start.
    pub statements: u64,
    /// SQLite's writer: its queue length, and the number of units in its commits.
    pub writer: Option<(usize, Histogram)>,
}

impl Database {
    /// The reader threads that each worker needs; `None` where the database needs none. With more
    /// threads than connections, most would wake up only to wait for one.
    #[must_use]
    pub fn reading_threads(&self, workers: usize) -> Option<usize> {
        match &*self.backend {
            Backend::Sqlite { readers, .. } => {
                let connections = usize::try_from(readers.max_size()).unwrap_or(usize::MAX);
                Some(connections.div_ceil(workers.max(1)))
            }
            Backend::Postgres(_) => None,
        }
    }

    /// The load of the database.
    #[must_use]
    pub fn load(&self) -> Load {
        let (pool, writer) = match &*self.backend {
            Backend::Sqlite { writer, readers, .. } => {
                (readers.state(), Some((writer.waiting(), writer.groups().clone())))
            }
            Backend::Postgres(postgres) => (postgres.state(), None),
        };
        Load {
            connections: pool.connections,
            idle: pool.idle_connections,
            statements: self.statements.load(Ordering::Relaxed),
            writer,
        }
    }
}
