//! What a database says of itself, for whoever wants to know whether it keeps what it is given.

use std::collections::BTreeMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::clock::{Clock, Timestamp};
use crate::database::connection::Manager;
use crate::database::time::{CommandClocks, server_time};
use crate::database::{AnyConnection, DatabaseUrl, OpenError, connection_refusals};

/// The most faults of a file that are listed.
const MAX_FAULTS: usize = 3;

/// What was found.
#[derive(Debug)]
pub enum Inspected {
    /// A SQLite file.
    File {
        /// What is broken in it.
        faults: Vec<String>,
        /// The newest moment in it, if it is far ahead of this machine's clock.
        ahead: Option<Timestamp>,
    },
    /// A PostgreSQL server.
    Server {
        /// Its settings, of those that matter, as they are for Doorward's connections.
        settings: BTreeMap<String, String>,
        /// How many connections this role may have there at a time, if that is limited.
        connection_limit: Option<u32>,
        /// What its clock says.
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

/// Reads a SQLite file through, or asks a PostgreSQL server; changes nothing.
///
/// # Errors
/// [`OpenError`] when there is no such database, or it cannot be read.
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
