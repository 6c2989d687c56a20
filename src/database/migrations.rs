//! The schema's versions, embedded in the binary: one folder a database, with the same names.

use diesel::connection::{Connection as _, SimpleConnection as _};
use diesel::migration::{Migration as _, MigrationSource, MigrationVersion};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{AnyConnection, OpenError};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Held while migrating, so that many nodes may start at once: the letters "doorward" as a number.
const ADVISORY_LOCK: i64 = 0x646f_6f72_7761_7264;

/// Applies what is pending, or says why not.
pub(super) fn bring_up_to_date(
    connection: &mut AnyConnection,
    migrate: bool,
) -> Result<(), OpenError> {
    match connection {
        // One transaction that holds the write lock from its start: a second process waits, then
        // finds it done.
        AnyConnection::Sqlite(connection) => {
            connection.immediate_transaction(|c| apply(c, SQLITE, migrate))
        }
        AnyConnection::Postgres(connection) => connection.transaction(|c| {
            // Other nodes may be migrating, and what they do may take longer than a request may.
            c.batch_execute("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0")?;
            diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
                .bind::<BigInt, _>(ADVISORY_LOCK)
                .execute(c)?;
            apply(c, POSTGRES, migrate)
        }),
    }
}

fn apply<DB, C>(
    connection: &mut C,
    embedded: EmbeddedMigrations,
    migrate: bool,
) -> Result<(), OpenError>
where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
    EmbeddedMigrations: MigrationSource<DB>,
{
    let known = MigrationSource::<DB>::migrations(&embedded).map_err(failed)?;
    let known: Vec<MigrationVersion<'static>> =
        known.iter().map(|migration| migration.name().version().as_owned()).collect();
    let applied = connection.applied_migrations().map_err(failed)?;
    if let Some(newer) = applied.iter().find(|version| !known.contains(version)) {
        return Err(OpenError::Newer(newer.to_string()));
    }
    let pending = known.iter().find(|version| !applied.contains(version));
    if let (Some(pending), false) = (pending, migrate) {
        return Err(OpenError::Pending(pending.to_string()));
    }
    connection.run_pending_migrations(embedded).map_err(failed)?;
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> OpenError {
    OpenError::Migration(error.to_string())
}

impl From<diesel::result::Error> for OpenError {
    fn from(error: diesel::result::Error) -> Self {
        failed(error)
    }
}
