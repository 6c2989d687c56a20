//! A connection to either database, and its setup.

use std::fmt;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use diesel::connection::{InstrumentationEvent, SimpleConnection as _};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::r2d2::{ManageConnection, R2D2Connection as _};
use diesel::sql_types::{BigInt, Text};

use super::connection_refusals::{self, UNANSWERED};
use super::inspection;
use super::url::{self, with_defaults, with_defaults_for_reading};
use super::{DatabaseSettings, DatabaseUrl, OpenError};

/// How long a start or a command waits for a connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

pub use multi::{AnyConnection, MultiBackend};

/// A file that is only read needs no other settings.
const INSPECTION_SETUP: &str = "PRAGMA busy_timeout = 10000;";

mod multi {
    #![expect(missing_docs, reason = "the derive makes public items of its own")]

    /// A connection to the configured database.
    #[derive(diesel::MultiConnection)]
    pub enum AnyConnection {
        Sqlite(diesel::SqliteConnection),
        Postgres(diesel::PgConnection),
    }
}

/// Opens connections for the pools, by the URL's scheme: the derived `establish` would hide the
/// cause of an error.
#[derive(Clone, Debug)]
pub(super) struct Manager {
    url: DatabaseUrl,
    setup: String,
    /// Whether a SQLite file and the files next to it stay unchanged.
    changes_no_file: bool,
    /// Counts the statements that run on its connections.
    statements: Option<Arc<AtomicU64>>,
}

impl Manager {
    pub(super) fn new(settings: &DatabaseSettings, busy_timeout: Duration) -> Self {
        let busy_timeout = busy_timeout.as_millis();
        let setup = match &settings.url {
            // WAL lets readers continue during writes; FULL makes a commit survive a power cut.
            DatabaseUrl::Sqlite(_) => format!(
                "PRAGMA busy_timeout = {busy_timeout};
                 PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 PRAGMA foreign_keys = ON;
                 PRAGMA journal_size_limit = 67108864;"
            ),
            // Every statement finds its rows by keys, so one plan is as good as another, and
            // planning a refresh each time would cost more than running it. A server that only
            // implements PostgreSQL's protocol may not have this setting. A statement that waits
            // for a lock times out early enough to report it.
            DatabaseUrl::Postgres(_) => format!(
                "SELECT set_config(name, 'force_generic_plan', false)
                 FROM pg_settings WHERE name = 'plan_cache_mode';
                 SET default_transaction_isolation = 'read committed';
                 SET statement_timeout = {statement};
                 SET lock_timeout = {lock};
                 SET idle_in_transaction_session_timeout = {statement};",
                statement = settings.statement_timeout.as_millis(),
                lock = (settings.statement_timeout / 2).as_millis()
            ),
        };
        Self { url: settings.url.clone(), setup, changes_no_file: false, statements: None }
    }

    /// For the command line, without a statement timeout. The journal mode stays as it is: the
    /// service sets it when it opens the file.
    pub(super) fn without_timeouts(url: &DatabaseUrl) -> Self {
        url.warn_if_exposed();
        let setup = match url {
            DatabaseUrl::Sqlite(_) => {
                "PRAGMA busy_timeout = 10000;
                 PRAGMA synchronous = FULL;
                 PRAGMA foreign_keys = ON;"
            }
            DatabaseUrl::Postgres(_) => {
                "SET statement_timeout = 0;
                 SET lock_timeout = 10000;
                 SET idle_in_transaction_session_timeout = 0;"
            }
        };
        let setup = setup.to_owned();
        Self { url: url.clone(), setup, changes_no_file: false, statements: None }
    }

    /// Connects to an existing database: a SQLite file is not created.
    pub(super) fn connect_existing(&self) -> Result<AnyConnection, OpenError> {
        self.url.must_exist()?;
        self.open()
    }

    /// [`ManageConnection::connect`], with an error that names the remedy.
    pub(super) fn open(&self) -> Result<AnyConnection, OpenError> {
        self.url.refuse_data_loss()?;
        let unreachable = |error: &dyn fmt::Display| {
            OpenError::unreachable(&self.url, &without_the_url(&error.to_string()))
        };
        let mut connection = self.connect_in_time().map_err(|error| unreachable(&error))?;
        match encoding(&mut connection).map_err(|error| unreachable(&error))? {
            Some(encoding) if encoding != "UTF8" => {
                Err(OpenError::Encoding { at: self.url.named(), encoding })
            }
            _ => Ok(connection),
        }
    }

    /// [`ManageConnection::connect`] that waits no longer than [`OPEN_TIMEOUT`] for a server that
    /// accepts a connection and does not answer.
    fn connect_in_time(&self) -> Result<AnyConnection, String> {
        if matches!(self.url, DatabaseUrl::Sqlite(_)) {
            return self.connect().map_err(|error| error.to_string());
        }
        let (made, waits) = mpsc::sync_channel(1);
        let manager = self.clone();
        let attempt = move || {
            // If the caller no longer waits, the connection is closed.
            let _ = made.send(manager.connect().map_err(|error| error.to_string()));
        };
        let name = String::from("doorward-connect");
        thread::Builder::new().name(name).spawn(attempt).map_err(|error| error.to_string())?;
        waits.recv_timeout(OPEN_TIMEOUT).unwrap_or_else(|_| Err(UNANSWERED.to_owned()))
    }

    /// Rejects a pooler that would run one connection's statement for another.
    pub(super) fn refuse_mixed_statements(
        &self,
        first: &mut AnyConnection,
    ) -> Result<(), OpenError> {
        if matches!(first, AnyConnection::Sqlite(_)) {
            return Ok(());
        }
        let mut second = self.open()?;
        connection_refusals::prepare_separately([first, &mut second])
            .map_err(|error| OpenError::unreachable(&self.url, &error))
    }

    /// Changes the manager for a command that only reads: SQLite's files stay unchanged.
    pub(super) fn for_inspection(self) -> Self {
        match self.url {
            DatabaseUrl::Sqlite(_) => {
                Self { setup: INSPECTION_SETUP.to_owned(), changes_no_file: true, ..self }
            }
            DatabaseUrl::Postgres(_) => self,
        }
    }

    /// Changes the manager for connections that must not write.
    pub(super) fn read_only(mut self) -> Self {
        self.setup.push_str("PRAGMA query_only = ON;");
        self
    }

    /// A copy of the manager that counts the statements of its connections.
    pub(super) fn counted_by(&self, statements: &Arc<AtomicU64>) -> Self {
        Self { statements: Some(Arc::clone(statements)), ..self.clone() }
    }

    /// A copy of the manager that does not count statements.
    pub(super) fn uncounted(&self) -> Self {
        Self { statements: None, ..self.clone() }
    }
}

impl ManageConnection for Manager {
    type Connection = AnyConnection;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<AnyConnection, Self::Error> {
        let mut connection = match &self.url {
            DatabaseUrl::Sqlite(path) if self.changes_no_file => {
                AnyConnection::Sqlite(inspection::open(path, &self.setup)?)
            }
            DatabaseUrl::Sqlite(path) => {
                make_private_file(path)?;
                let made = SqliteConnection::establish(&path.to_string_lossy());
                AnyConnection::Sqlite(made.map_err(Self::Error::ConnectionError)?)
            }
            DatabaseUrl::Postgres(url) => {
                let made = to_postgres(url.expose());
                AnyConnection::Postgres(made.map_err(Self::Error::ConnectionError)?)
            }
        };
        connection.batch_execute(&self.setup).map_err(Self::Error::QueryError)?;
        if let Some(statements) = self.statements.clone() {
            connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
                if matches!(event, InstrumentationEvent::StartQuery { .. }) {
                    statements.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Ok(connection)
    }

    /// A local file stays reachable; a check would cost every request a query.
    fn is_valid(&self, _: &mut AnyConnection) -> Result<(), Self::Error> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut AnyConnection) -> bool {
        match connection {
            AnyConnection::Sqlite(connection) => connection.is_broken(),
            AnyConnection::Postgres(connection) => connection.is_broken(),
        }
    }
}

/// Connects to a server that accepts writes, or else to a primary that accepts only reads.
fn to_postgres(url: &str) -> ConnectionResult<PgConnection> {
    PgConnection::establish(&with_defaults(url)).or_else(|error| {
        if !error.to_string().contains("session is read-only") {
            return Err(error);
        }
        let primary = with_defaults_for_reading(url).ok_or(error)?;
        PgConnection::establish(&primary)
    })
}

/// The file holds password hashes; SQLite would make it readable for everybody. Its WAL inherits
/// the mode. An existing file is not opened: closing it again would release every lock that this
/// process holds on it (POSIX, fcntl), and another process could remove the WAL under it.
fn make_private_file(path: &std::path::Path) -> Result<(), diesel::r2d2::Error> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop)
        .or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })
        .map_err(|error| ConnectionError::BadConnection(error.to_string()))
        .map_err(diesel::r2d2::Error::ConnectionError)
}

/// libpq quotes the part of a URL that it cannot parse, which may contain a password.
fn without_the_url(cause: &str) -> String {
    const QUOTING: [&str; 6] = [
        "URI",
        "percent-encoded",
        "invalid port number",
        "invalid integer value",
        "connection option",
        "after \"=\"",
    ];
    if QUOTING.iter().any(|words| cause.contains(words)) {
        return format!("{}; {}", url::MALFORMED.problem, url::MALFORMED.remedy);
    }
    cause.to_owned()
}

/// The encoding of PostgreSQL's text. SQLite's is always a form of Unicode.
fn encoding(connection: &mut AnyConnection) -> QueryResult<Option<String>> {
    match connection {
        AnyConnection::Sqlite(_) => Ok(None),
        AnyConnection::Postgres(connection) => {
            let query = "SELECT current_setting('server_encoding') AS encoding";
            sql::<Text>(query).get_result(connection).map(Some)
        }
    }
}

/// SQLite's counter of other connections' commits; constant for PostgreSQL, which uses
/// notifications.
pub(super) fn data_version(connection: &mut AnyConnection) -> QueryResult<i64> {
    match connection {
        AnyConnection::Sqlite(connection) => {
            sql::<BigInt>("PRAGMA data_version").get_result(connection)
        }
        AnyConnection::Postgres(_) => Ok(0),
    }
}
