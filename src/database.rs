//! The store: two calls, [`Database::read`] and [`Database::write`], each a unit of work over one
//! connection.
//!
//! The closure *is* the transaction, and it is synchronous: nothing can await, or hash a password,
//! while a connection is held. What a unit decides ("reuse", "e-mail taken") is its value; its
//! error means that nothing of it happened.
//!
//! - SQLite: one writer thread commits units in groups; a pool of readers.
//! - PostgreSQL: a pool; a unit is a READ COMMITTED transaction, tried again on a deadlock.

mod connection;
mod migrations;
pub mod schema;
pub mod types;
mod writer;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;
use diesel::r2d2::ManageConnection;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

pub use connection::{AnyConnection, MultiBackend};
pub use types::Id;

use crate::secret::Secret;
use connection::Manager;
use writer::Writer;

/// How long a request waits for a connection, or its group of units for SQLite's lock. A unit may
/// wait for the group before its own, too, and all of it should take less than 3 s.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a unit that PostgreSQL asked to try again is tried.
const ATTEMPTS: usize = 5;

type Pool = r2d2::Pool<Manager>;

/// Where the data is and how to reach it.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// The database.
    pub url: DatabaseUrl,
    /// Connections for reading (SQLite) or for everything (PostgreSQL).
    pub pool_size: u32,
    /// The longest that PostgreSQL may work on one statement.
    pub statement_timeout: Duration,
    /// Whether to bring the schema up to date at start, rather than refuse an old one.
    pub migrate: bool,
}

/// One of the two kinds of database.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL URL, as libpq reads it. It may hold a password.
    Postgres(Secret<String>),
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(_) => f.write_str("postgres://[secret]"),
        }
    }
}

/// Why the database cannot be used at all: each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be reached or read.
    #[error(
        "cannot open the database {at}: {cause}; check that it is there, that it is a database, and \
         that this user may read and write it"
    )]
    Unreachable {
        /// The database, without its password.
        at: String,
        /// What the system said.
        cause: String,
    },
    /// Its schema is of a later version.
    #[error(
        "the database has migration {0}, which this version does not know; run the version that made it, or a newer one"
    )]
    Newer(String),
    /// Its schema is of an earlier version and migrations at start are off.
    #[error(
        "the database lacks migration {0} and migrating at start is off; set database.migrate = true"
    )]
    Pending(String),
    /// A migration failed.
    #[error(
        "cannot migrate the database: {0}; name a database that is empty or Doorward's own (nothing \
         was changed by the migration that failed)"
    )]
    Migration(String),
}

/// Why a unit of work did not happen. Nothing of it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot do it now: gone, locked, full, or too busy. Trying again is right.
    #[error("the database is not available")]
    Unavailable,
    /// The unit itself is at fault: a bug here.
    #[error("the unit of work failed")]
    Failed,
}

/// What runs once a unit is on disk, before anybody is told.
type Hook = Box<dyn FnOnce() + Send>;

/// A unit of work that is being written.
pub struct Tx<'a> {
    connection: &'a mut AnyConnection,
    hooks: &'a mut Vec<Hook>,
}

impl Tx<'_> {
    /// The connection to run queries on.
    pub const fn connection(&mut self) -> &mut AnyConnection {
        self.connection
    }

    /// Runs `hook` when this unit is on disk and before its answer leaves; never when it is not.
    /// Unlike code behind the `.await`, it runs even if the client has hung up meanwhile.
    pub fn after_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.push(Box::new(hook));
    }
}

/// The open database. Clones share it.
#[derive(Clone)]
pub struct Database(Arc<Backend>);

enum Backend {
    Sqlite { writer: Writer, readers: Pool, manager: Manager },
    Postgres { pool: Pool },
}

impl Database {
    /// Connects, migrates, and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`]: the database cannot be reached, or has a schema that does not fit.
    pub fn open(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        let manager = Manager::new(settings, PATIENCE);
        let mut first = manager.connect().map_err(|error| OpenError::Unreachable {
            at: format!("{:?}", settings.url),
            cause: error.to_string(),
        })?;
        migrations::bring_up_to_date(&mut first, settings.migrate)?;
        let backend = match &settings.url {
            DatabaseUrl::Sqlite(_) => Backend::Sqlite {
                writer: Writer::start(first),
                readers: pool(&manager.clone().read_only(), settings.pool_size),
                manager,
            },
            DatabaseUrl::Postgres(_) => {
                Backend::Postgres { pool: pool(&manager, settings.pool_size) }
            }
        };
        Ok(Self(Arc::new(backend)))
    }

    /// Runs a unit that only reads.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot answer.
    pub fn read<T, F>(&self, mut unit: F) -> impl Future<Output = Result<T, StoreError>> + use<T, F>
    where
        T: Send + 'static,
        F: FnMut(&mut AnyConnection) -> QueryResult<T> + Send + 'static,
    {
        refuse_nesting();
        let backend = Arc::clone(&self.0);
        off_thread(move || match &*backend {
            Backend::Sqlite { readers: pool, .. } | Backend::Postgres { pool } => {
                let mut connection = checkout(pool)?;
                in_unit(|| unit(&mut connection))
            }
        })
    }

    /// Runs a unit that writes, and answers when it is on disk.
    ///
    /// The closure may run more than once on PostgreSQL; only the last run counts.
    ///
    /// # Errors
    /// [`StoreError`] when it is not on disk: nothing of it happened.
    pub fn write<T, F>(
        &self,
        mut unit: F,
    ) -> impl Future<Output = Result<T, StoreError>> + use<T, F>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
    {
        refuse_nesting();
        let backend = Arc::clone(&self.0);
        async move {
            match &*backend {
                Backend::Sqlite { writer, .. } => writer.run(unit).await,
                Backend::Postgres { pool } => {
                    let pool = pool.clone();
                    off_thread(move || write_with_retries(&pool, &mut unit)).await
                }
            }
        }
    }

    /// Whether the database reads, and takes writes in time.
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(|connection| connection.batch_execute("SELECT 1")).await?;
        // It changes nothing, so its commit writes nothing.
        self.write(|tx| tx.connection().batch_execute("SELECT 1")).await
    }

    /// A watch for changes that other processes make to a SQLite file; nothing for PostgreSQL.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened.
    pub fn watch_file(&self) -> Result<Option<FileWatch>, StoreError> {
        match &*self.0 {
            Backend::Sqlite { manager, .. } => {
                let connection = manager.connect().map_err(|error| unavailable(&error))?;
                Ok(Some(FileWatch { connection, version: None }))
            }
            Backend::Postgres { .. } => Ok(None),
        }
    }
}

/// Notices commits to the SQLite file by `PRAGMA data_version`, which changes whenever another
/// connection commits.
pub struct FileWatch {
    connection: AnyConnection,
    version: Option<i64>,
}

impl FileWatch {
    /// Whether somebody has committed since the last call; true at the first.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn changed(&mut self) -> Result<bool, StoreError> {
        let version = connection::data_version(&mut self.connection).map_err(|e| classify(&e))?;
        let changed = self.version != Some(version);
        self.version = Some(version);
        Ok(changed)
    }

    /// Reads what has changed.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read; the next [`FileWatch::changed`] then says so
    /// again.
    pub fn read<T>(
        &mut self,
        unit: impl FnOnce(&mut AnyConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        let result = in_unit(|| unit(&mut self.connection));
        if result.is_err() {
            self.version = None;
        }
        result
    }
}

fn pool(manager: &Manager, size: u32) -> Pool {
    r2d2::Pool::builder()
        .max_size(size)
        .min_idle(Some(1))
        .connection_timeout(PATIENCE)
        .build_unchecked(manager.clone())
}

fn checkout(pool: &Pool) -> Result<r2d2::PooledConnection<Manager>, StoreError> {
    pool.get().map_err(|error| unavailable(&error))
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .unwrap_or(Err(StoreError::Failed))
}

fn write_with_retries<T>(
    pool: &Pool,
    unit: &mut impl FnMut(&mut Tx<'_>) -> QueryResult<T>,
) -> Result<T, StoreError> {
    let mut connection = checkout(pool)?;
    for attempt in 1.. {
        let mut hooks = Vec::new();
        match postgres_transaction(&mut connection, &mut hooks, unit) {
            Ok(value) => {
                for hook in hooks {
                    hook();
                }
                return Ok(value);
            }
            Err(error) if attempt < ATTEMPTS && wants_retry(&error) => {
                tracing::debug!(attempt, "a unit of work is tried again");
            }
            Err(error) => return Err(classify(&error)),
        }
    }
    Err(StoreError::Unavailable)
}

fn postgres_transaction<T>(
    connection: &mut AnyConnection,
    hooks: &mut Vec<Hook>,
    unit: &mut impl FnMut(&mut Tx<'_>) -> QueryResult<T>,
) -> QueryResult<T> {
    connection.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")?;
    let result = guarded(|| unit(&mut Tx { connection: &mut *connection, hooks }));
    match result {
        Ok(value) => connection.batch_execute("COMMIT").map(|()| value),
        Err(error) => {
            // A connection that cannot even roll back is broken, and the pool will find out.
            let _ = connection.batch_execute("ROLLBACK");
            Err(error)
        }
    }
}

fn wants_retry(error: &DieselError) -> bool {
    // SQLSTATE 40001; diesel has no kind of its own for 40P01 and leaves only its text.
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => true,
        DieselError::DatabaseError(_, information) => {
            information.message().contains("deadlock detected")
        }
        _ => false,
    }
}

fn in_unit<T>(unit: impl FnOnce() -> QueryResult<T>) -> Result<T, StoreError> {
    guarded(unit).map_err(|error| classify(&error))
}

thread_local! {
    static IN_UNIT: Cell<bool> = const { Cell::new(false) };
}

/// Runs a unit so that a panic in it is its own failure and nobody else's.
fn guarded<T>(unit: impl FnOnce() -> QueryResult<T>) -> QueryResult<T> {
    IN_UNIT.set(true);
    let result = catch_unwind(AssertUnwindSafe(unit));
    IN_UNIT.set(false);
    result.unwrap_or_else(|_| {
        tracing::error!("a unit of work panicked");
        Err(DieselError::RollbackTransaction)
    })
}

/// A unit that starts another would wait for itself.
fn refuse_nesting() {
    assert!(!IN_UNIT.get(), "a unit of work must not start another");
}

fn unavailable(error: &dyn fmt::Display) -> StoreError {
    tracing::error!(%error, "the database is not available");
    StoreError::Unavailable
}

fn classify(error: &DieselError) -> StoreError {
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
