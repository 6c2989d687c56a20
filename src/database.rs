//! The database: two calls, [`Database::read`] and [`Database::write`], each a unit of work on one
//! connection.
//!
//! The closure *is* the transaction, and it is synchronous: nothing can await, or hash a password,
//! while a connection is held. A decision of a unit ("reuse", "e-mail taken") is its value; an
//! error means that nothing of it was committed.
//!
//! - SQLite: one writer thread commits units in groups, another checkpoints the WAL, and a pool of
//!   connections reads.
//! - PostgreSQL: a pool; a unit is a READ COMMITTED transaction, retried on a deadlock.

mod change_source;
mod checkpoint;
mod connection;
mod connection_refusals;
mod data_version;
mod deadline;
mod expected_version;
mod fault;
mod file_checks;
mod file_identity;
mod inspection;
mod listen;
mod load;
pub mod maintenance;
mod open_error;
mod opening;
mod postgres;
mod prepared_update;
pub mod schema;
pub mod sql_types;
mod store_error;
pub mod time;
mod tx;
mod unit_of_work;
mod url;
mod write_refusals;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;
use tokio::sync::Semaphore;

pub use change_source::ChangeSource;
pub use connection::{AnyConnection, MultiBackend};
pub use connection_refusals::CONNECTIONS_OUTSIDE_POOL;
pub use data_version::DataVersionPoller;
pub use deadline::with_database_deadline;
pub use expected_version::ExpectedVersion;
pub use listen::Listener;
pub use load::Load;
pub use maintenance::drift::{SchemaReport, check};
pub use maintenance::health::{Inspected, inspect};
pub use open_error::OpenError;
pub use opening::migrate;
pub use prepared_update::PreparedUpdate;
pub use sql_types::Id;
pub use store_error::StoreError;
pub use tx::Tx;
pub use url::{DatabaseUrl, UrlError};

use connection::Manager;
use fault::StorageFault;
use postgres::Postgres;
use store_error::{classify, unavailable};
use tx::{Hook, TxState};
use unit_of_work::{guarded, in_span};
use write_refusals::WriteRefusals;
use writer::Writer;

/// How long a request waits for a connection, or its group of units for SQLite's lock. A unit may
/// also wait for the preceding group, and all of it should take less than 3 s.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a start waits for SQLite's connection, since an error would end the process.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum number of units in SQLite's reader queue: behind an unresponsive disk, more would
/// only use memory.
const MAX_QUEUED_READS: usize = 4096;

type Readers = r2d2::Pool<Manager>;

/// The location of the data and the settings of its connections.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// The database.
    pub url: DatabaseUrl,
    /// Connections for reads (SQLite) or for everything (PostgreSQL).
    pub pool_size: u32,
    /// The timeout of a PostgreSQL statement; waiting for a lock may take half of it.
    pub statement_timeout: Duration,
    /// Whether to apply pending migrations at a start, rather than reject an outdated schema.
    pub migrate: bool,
}

/// The open database. Clones share it.
#[derive(Clone)]
pub struct Database {
    backend: Arc<Backend>,
    /// Statements run on the pool's connections.
    statements: Arc<AtomicU64>,
    write_refusals: WriteRefusals,
    /// The operator for whom this handle's units run.
    actor: Option<Arc<str>>,
}

enum Backend {
    Sqlite {
        writer: Writer,
        readers: Readers,
        permits: Arc<Semaphore>,
        manager: Manager,
        fault: StorageFault,
    },
    Postgres(Postgres),
}

impl Database {
    /// Whether the database answers reads and writes in time.
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(|connection| connection.batch_execute("SELECT 1")).await?;
        // It changes nothing, so its commit writes nothing.
        self.write(|tx| tx.connection().batch_execute("SELECT 1")).await
    }

    /// Why writes are rejected until a restart: SQLite's files were deleted, replaced, truncated or
    /// overwritten while they were open.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        match &*self.backend {
            Backend::Sqlite { fault, .. } => fault.get(),
            Backend::Postgres(_) => None,
        }
    }
}
