//! The section `[database]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::serde_formats;

/// The database's connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// The size of a node's connection pool: 1 to 1000. (SQLite: for reads; one more connection
    /// writes.)
    pub pool_size: u32,
    /// The statement timeout, and twice the lock timeout: 100ms to 10s. Above 2s, clients wait
    /// longer than 3s for the 503 of an unavailable database.
    #[serde(with = "serde_formats::duration")]
    pub statement_timeout: Duration,
    /// Whether pending migrations are applied at a start.
    pub migrate: bool,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { pool_size: 8, statement_timeout: Duration::from_secs(2), migrate: true }
    }
}
