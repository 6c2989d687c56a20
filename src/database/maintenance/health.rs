//! Health checks of the database: corruption, durability settings, clock.

use std::collections::BTreeMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::clock::{Clock, Timestamp};
use crate::database::connection::Manager;
use crate::database::time::{CommandClocks, server_time};
use crate::database::{AnyConnection, DatabaseUrl, OpenError, connection_refusals};

/// The maximum number of errors listed for a file.
const MAX_FAULTS: usize = 3;

/// The result of the checks.
#[derive(Debug)]
pub enum Inspected {
    /// A SQLite file.
    File {
        /// The damage found in it.
        faults: Vec<String>,
        /// The newest time stored in it, if it is far ahead of this machine's clock.
        ahead: Option<Timestamp>,
    },
    /// A PostgreSQL server.
    Server {
        /// Its relevant settings, as they apply to Doorward's connections.
        settings: BTreeMap<String, String>,
        /// The maximum number of connections of this role, if there is one.
        connection_limit: Option<u32>,
        /// Its clock.
        clock: Timestamp,
    },
}

const SETTINGS: &str = "
    SELECT name, setting FROM pg_settings WHERE name IN
    ('fsync', 'full_page_writes', 'synchronous_commit', 'server_version_num', 'server_version',
     'max_connections', 'superuser_reserved_connections', 'reserved_connections')";
const QUICK_CHECK: &str = "SELECT quick_check AS line FROM pragma_quick_check";
const FOREIGN_KEY_CHECK: &str = "
    SELECT 'row ' || coalesce(rowid, '?') || ' of ' || \"table\" || ' refers to no row of ' || parent
        AS line
    FROM pragma_foreign_key_check";

/// Checks a SQLite file completely, or queries a PostgreSQL server; changes nothing.
///
/// # Errors
/// [`OpenError`] when the database does not exist or cannot be read.
pub fn inspect(url: &DatabaseUrl) -> Result<Inspected, OpenError> {
    let mut connection = Manager::without_timeouts(url).for_inspection().connect_existing()?;
    let found = match &connection {
        AnyConnection::Sqlite(_) => file(&mut connection),
        AnyConnection::Postgres(_) => server(&mut connection),
    };
    found.map_err(|error| OpenError::unreachable(url, &error))
}

fn file(connection: &mut AnyConnection) -> QueryResult<Inspected> {
    let faults = broken(connection)?;
    let clocks = CommandClocks::read(connection, Clock::system());
    Ok(Inspected::File { faults, ahead: clocks.ok().and_then(|clocks| clocks.ahead) })
}

fn broken(connection: &mut AnyConnection) -> QueryResult<Vec<String>> {
    let mut faults = Vec::new();
    for query in [QUICK_CHECK, FOREIGN_KEY_CHECK] {
        let lines: Vec<String> = sql::<Text>(query).load(connection)?;
        faults.extend(lines.into_iter().filter(|line| line != "ok"));
    }
    faults.truncate(MAX_FAULTS);
    Ok(faults)
}

fn server(connection: &mut AnyConnection) -> QueryResult<Inspected> {
    let settings: Vec<(String, String)> = sql::<(Text, Text)>(SETTINGS).load(connection)?;
    Ok(Inspected::Server {
        settings: settings.into_iter().collect(),
        connection_limit: connection_refusals::connection_limit(connection),
        clock: server_time(connection)?.ok_or(diesel::NotFound)?,
    })
}
