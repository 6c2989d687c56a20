//! The schema's migrations, embedded in the binary: one folder per database, with the same names.

use diesel::connection::{Connection as _, SimpleConnection as _};
use diesel::dsl::sql;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::database::{AnyConnection, OpenError};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The table in which diesel records applied migrations.
pub(in crate::database) const MIGRATIONS_TABLE: &str = "__diesel_schema_migrations";

/// Held during a migration, so that many nodes may start at once: the letters "doorward" as a
/// number.
const ADVISORY_LOCK: i64 = 0x646f_6f72_7761_7264;

/// The state of a database relative to the migrations that this binary knows, each list in order of
/// creation.
#[derive(Debug, Default)]
pub(in crate::database) struct Versions {
    /// Known and applied.
    pub applied: Vec<String>,
    /// Known and not applied.
    pub pending: Vec<String>,
    /// Applied and unknown.
    pub newer: Vec<String>,
}

/// Applies the pending migrations, or returns why they cannot be applied. Returns their names.
pub(in crate::database) fn migrate(
    connection: &mut AnyConnection,
    migrate: bool,
) -> Result<Vec<String>, OpenError> {
    // Only reads, so that a role without CREATE can start.
    let versions = versions(connection)?;
    versions.is_current(migrate)?;
    if versions.pending.is_empty() {
        return Ok(Vec::new());
    }
    match connection {
        // One transaction that holds the write lock from its start: a second process waits, then
        // finds nothing pending.
        AnyConnection::Sqlite(connection) => connection.immediate_transaction(|c| apply(c, SQLITE)),
        AnyConnection::Postgres(connection) => connection.transaction(|c| {
            // Other nodes may be migrating, which may take longer than a request may.
            c.batch_execute("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0")?;
            diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
                .bind::<BigInt, _>(ADVISORY_LOCK)
                .execute(c)?;
            apply(c, POSTGRES)
        }),
    }
}

fn apply<DB, C>(connection: &mut C, embedded: EmbeddedMigrations) -> Result<Vec<String>, OpenError>
where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
    EmbeddedMigrations: MigrationSource<DB>,
{
    let known = sorted::<DB>(&embedded)?;
    let applied = connection.applied_migrations().map_err(failed)?;
    let applied: Vec<String> = applied.iter().map(ToString::to_string).collect();
    let versions = compare(&known, &applied);
    versions.is_current(true)?;
    connection.run_pending_migrations(embedded).map_err(failed)?;
    Ok(versions.pending)
}

impl Versions {
    /// Whether no migration was ever applied.
    pub(in crate::database) const fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.newer.is_empty()
    }

    /// # Errors
    /// [`OpenError::Newer`], and [`OpenError::Pending`] unless pending migrations are allowed.
    pub(in crate::database) fn is_current(&self, allow_pending: bool) -> Result<(), OpenError> {
        match (self.newer.first(), self.pending.first()) {
            (Some(newer), _) => Err(OpenError::Newer(newer.clone())),
            (None, Some(pending)) if !allow_pending => Err(OpenError::Pending(pending.clone())),
            _ => Ok(()),
        }
    }
}

/// The state of the database, read without changing it (diesel's own way creates
/// [`MIGRATIONS_TABLE`]).
pub(in crate::database) fn versions(connection: &mut AnyConnection) -> Result<Versions, OpenError> {
    let there = match connection {
        AnyConnection::Sqlite(_) => {
            "SELECT name AS version FROM sqlite_master WHERE name = '__diesel_schema_migrations'"
        }
        AnyConnection::Postgres(_) => {
            "SELECT tablename::text AS version FROM pg_tables \
             WHERE schemaname = current_schema() AND tablename = '__diesel_schema_migrations'"
        }
    };
    let applied = "SELECT version FROM __diesel_schema_migrations ORDER BY version";
    let mut load = |query| {
        let rows = sql::<Text>(query).load::<String>(connection);
        rows.map_err(|error| OpenError::Versions(error.to_string()))
    };
    let applied = if load(there)?.is_empty() { Vec::new() } else { load(applied)? };
    Ok(match connection {
        AnyConnection::Sqlite(_) => compare(&sorted::<Sqlite>(&SQLITE)?, &applied),
        AnyConnection::Postgres(_) => compare(&sorted::<Pg>(&POSTGRES)?, &applied),
    })
}

/// Runs the migrations of these names without recording them.
pub(in crate::database) fn replay(
    connection: &mut AnyConnection,
    names: &[String],
) -> Result<(), OpenError> {
    fn chosen<DB: diesel::backend::Backend>(
        embedded: &EmbeddedMigrations,
        names: &[String],
    ) -> Result<impl Iterator<Item = Box<dyn Migration<DB>>>, OpenError>
    where
        EmbeddedMigrations: MigrationSource<DB>,
    {
        let known = sorted::<DB>(embedded)?.into_iter();
        Ok(known.filter(|migration| names.contains(&migration.name().to_string())))
    }
    match connection {
        AnyConnection::Sqlite(connection) => {
            for migration in chosen::<Sqlite>(&SQLITE, names)? {
                migration.run(connection).map_err(failed)?;
            }
        }
        AnyConnection::Postgres(connection) => {
            for migration in chosen::<Pg>(&POSTGRES, names)? {
                migration.run(connection).map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn sorted<DB: diesel::backend::Backend>(
    embedded: &EmbeddedMigrations,
) -> Result<Vec<Box<dyn Migration<DB>>>, OpenError>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    let mut known = MigrationSource::<DB>::migrations(embedded).map_err(failed)?;
    known.sort_by_key(|migration| migration.name().version().as_owned());
    Ok(known)
}

fn compare<DB: diesel::backend::Backend>(
    known: &[Box<dyn Migration<DB>>],
    applied: &[String],
) -> Versions {
    let mut versions = Versions::default();
    for migration in known {
        let is_applied = applied.contains(&migration.name().version().to_string());
        let list = if is_applied { &mut versions.applied } else { &mut versions.pending };
        list.push(migration.name().to_string());
    }
    let is_known = |version: &&String| {
        known.iter().any(|migration| migration.name().version().to_string() == **version)
    };
    versions.newer = applied.iter().filter(|version| !is_known(version)).cloned().collect();
    versions
}

fn failed(error: impl std::fmt::Display) -> OpenError {
    OpenError::Migration(error.to_string())
}

impl From<diesel::result::Error> for OpenError {
    fn from(error: diesel::result::Error) -> Self {
        failed(error)
    }
}
