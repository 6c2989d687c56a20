//! Differences between a database's schema and the one that the migrations create.
//!
//! The expected schema is not written down a second time: the applied migrations run once more, for
//! SQLite in memory, for PostgreSQL in a temporary schema within a transaction that is rolled back.
//! Both are then read the same way and compared.

use std::collections::{BTreeMap, BTreeSet};

use diesel::connection::SimpleConnection as _;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use super::migrations::{self, MIGRATIONS_TABLE};
use crate::database::connection::Manager;
use crate::database::{AnyConnection, DatabaseUrl, OpenError};
use crate::secret::random_bytes;

/// The state of a database's schema.
#[derive(Debug, Default)]
pub struct SchemaReport {
    /// The applied migrations that this version knows.
    pub applied: Vec<String>,
    /// The pending ones.
    pub pending: Vec<String>,
    /// Those that a later version of Doorward applied.
    pub newer: Vec<String>,
    /// The differences from the schema that the applied migrations create: one line each.
    pub drift: Vec<String>,
    /// Why drift could not be determined.
    pub not_compared: Option<String>,
}

impl SchemaReport {
    /// Whether the schema is up to date and without drift.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.pending.is_empty()
            && self.newer.is_empty()
            && self.drift.is_empty()
            && self.not_compared.is_none()
    }
}

/// Checks the schema without changing anything.
///
/// # Errors
/// [`OpenError`] when the database does not exist or cannot be read.
pub fn check(url: &DatabaseUrl) -> Result<SchemaReport, OpenError> {
    let mut connection = Manager::without_timeouts(url).for_inspection().connect_existing()?;
    let connection = &mut connection;
    if let AnyConnection::Postgres(_) = connection {
        // It is never committed.
        connection.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
    }
    let versions = migrations::versions(connection)?;
    let (applied, pending, newer) = (versions.applied, versions.pending, versions.newer);
    let mut report = SchemaReport { applied, pending, newer, ..SchemaReport::default() };
    if report.newer.is_empty() {
        let found = Schema::read(connection)?;
        match Schema::expected(connection, &report.applied) {
            Ok(expected) => report.drift = expected.differences(&found),
            Err(why) => report.not_compared = Some(why),
        }
    } else {
        report.not_compared = Some(String::from("it was created by a newer version"));
    }
    Ok(report)
}

/// Every part of every table, with its definition.
#[derive(Debug)]
struct Schema(BTreeMap<Part, String>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    table: String,
    kind: String,
    name: String,
}

#[derive(QueryableByName)]
struct SchemaRow {
    #[diesel(sql_type = Text)]
    tbl: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    definition: String,
}

impl Schema {
    fn read(connection: &mut AnyConnection) -> QueryResult<Self> {
        let query = match connection {
            AnyConnection::Sqlite(_) => SQLITE,
            AnyConnection::Postgres(_) => POSTGRES,
        };
        let rows: Vec<SchemaRow> = diesel::sql_query(query).load(connection)?;
        let parts = rows.into_iter().filter(|row| row.tbl != MIGRATIONS_TABLE).map(|row| {
            let definition = row.definition.split_whitespace().collect::<Vec<_>>().join(" ");
            // PostgreSQL's name for the schema of a session's temporary tables.
            let definition = definition.replace(" ON pg_temp.", " ON ");
            (Part { table: row.tbl, kind: row.kind, name: row.name }, definition)
        });
        Ok(Self(parts.collect()))
    }

    /// The schema that these migrations create, or why it cannot be determined.
    fn expected(connection: &mut AnyConnection, applied: &[String]) -> Result<Self, String> {
        match connection {
            AnyConnection::Sqlite(_) => {
                let memory = SqliteConnection::establish(":memory:").map_err(|e| e.to_string())?;
                let mut memory = AnyConnection::Sqlite(memory);
                migrations::replay(&mut memory, applied).map_err(|e| e.to_string())?;
                Self::read(&mut memory).map_err(|e| e.to_string())
            }
            AnyConnection::Postgres(_) => {
                let name = comparison_schema(connection)?;
                connection
                    .batch_execute(&format!("SET LOCAL search_path TO {name}"))
                    .map_err(|e| e.to_string())?;
                migrations::replay(connection, applied).map_err(|e| e.to_string())?;
                Self::read(connection).map_err(|e| e.to_string())
            }
        }
    }

    /// The differences of `found` from this, the expected schema.
    fn differences(&self, found: &Self) -> Vec<String> {
        let parts: BTreeSet<&Part> = self.0.keys().chain(found.0.keys()).collect();
        let mut lines = Vec::new();
        // Tables that are reported as a whole: their parts are not listed.
        let mut settled = BTreeSet::new();
        for part in parts {
            if settled.contains(&part.table) {
                continue;
            }
            let line = match (self.0.get(part), found.0.get(part)) {
                (Some(expected), Some(found)) if expected == found => continue,
                (Some(expected), Some(found)) => {
                    format!("{part} is `{found}`, and should be `{expected}`")
                }
                (Some(expected), None) => {
                    if part.is_whole() {
                        settled.insert(part.table.clone());
                        format!("{part} is missing")
                    } else {
                        format!("{part} is missing: `{expected}`")
                    }
                }
                (None, _) => {
                    if part.is_whole() {
                        settled.insert(part.table.clone());
                    }
                    format!("{part} is not part of Doorward's schema")
                }
            };
            // A table's whole statement, which sorts last, repeats its parts.
            if !part.is_statement() || !lines.iter().any(|(table, _)| *table == part.table) {
                lines.push((part.table.clone(), line));
            }
        }
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

/// A schema that is rolled back afterwards: a new one or, for a role that may not create any, that
/// of temporary tables.
fn comparison_schema(connection: &mut AnyConnection) -> Result<String, String> {
    if may(connection, "CREATE").map_err(|e| e.to_string())? {
        let name = format!("doorward_check_{:016x}", u64::from_be_bytes(random_bytes()));
        let made = connection.batch_execute(&format!("CREATE SCHEMA {name}"));
        return made.map(|()| name).map_err(|e| e.to_string());
    }
    if may(connection, "TEMPORARY").map_err(|e| e.to_string())? {
        return Ok(String::from("pg_temp"));
    }
    Err(String::from(
        "the comparison needs temporary tables, which are rolled back, and this role may not \
         create any; run it as the database's owner, or GRANT TEMPORARY ON DATABASE to this role",
    ))
}

fn may(connection: &mut AnyConnection, privilege: &str) -> QueryResult<bool> {
    let query = format!("SELECT has_database_privilege(current_database(), '{privilege}')");
    sql::<Bool>(&query).get_result(connection)
}

impl Part {
    /// Whether it represents the table as a whole. Such a part is listed before the table's others.
    fn is_whole(&self) -> bool {
        self.kind.starts_with('(')
    }

    fn is_statement(&self) -> bool {
        self.kind == "~"
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, kind, name } = self;
        if self.is_whole() || self.is_statement() {
            write!(f, "table {table}")
        } else {
            write!(f, "{kind} {name} of {table}")
        }
    }
}

/// The kinds `(table)` and `~` sort before and after the others. `~` is the whole statement, for
/// parts that no pragma reports, such as a CHECK.
const SQLITE: &str = r#"
    WITH own AS (
        SELECT m.name, m.sql, m.type FROM sqlite_master m
        WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite\_%' ESCAPE '\'
    )
    SELECT name AS tbl, '(table)' AS kind, '' AS name, type AS definition FROM own
    UNION ALL
    SELECT name, '~', '', sql FROM own
    UNION ALL
    SELECT own.name, 'column', c.name, c.type
        || iif(c."notnull", ' NOT NULL', '')
        || coalesce(' DEFAULT ' || c.dflt_value, '')
        || iif(c.pk, ' PRIMARY KEY', '')
    FROM own JOIN pragma_table_xinfo(own.name) c
    UNION ALL
    SELECT m.tbl_name, m.type, m.name, m.sql FROM sqlite_master m
    WHERE m.type IN ('index', 'trigger') AND m.sql IS NOT NULL
"#;

const POSTGRES: &str = r"
    WITH own AS (
        SELECT c.oid, c.relname::text AS name, c.relkind::text AS kind FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace
            AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND NOT EXISTS (
                SELECT FROM pg_depend d
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
            )
    ), here AS (SELECT ' ON ' || quote_ident(current_schema()) || '.' AS place)
    SELECT name AS tbl, '(table)' AS kind, '' AS name,
        CASE kind WHEN 'r' THEN 'table' ELSE 'relation of kind ' || kind END AS definition
    FROM own
    UNION ALL
    SELECT own.name, 'column', a.attname::text, format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
        || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
    FROM own
    JOIN pg_attribute a ON a.attrelid = own.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL
    SELECT own.name, 'index', i.relname::text,
        replace(pg_get_indexdef(i.oid), here.place, ' ON ')
        || CASE WHEN x.indisvalid THEN '' ELSE ' INVALID' END
    FROM own CROSS JOIN here
    JOIN pg_index x ON x.indrelid = own.oid
    JOIN pg_class i ON i.oid = x.indexrelid
    WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.oid AND c.contype <> 'f')
    UNION ALL
    SELECT own.name, 'constraint', c.conname::text, pg_get_constraintdef(c.oid)
    FROM own JOIN pg_constraint c ON c.conrelid = own.oid AND c.contype IN ('c', 'f', 'p', 'u', 'x')
    UNION ALL
    SELECT own.name, 'trigger', t.tgname::text,
        replace(pg_get_triggerdef(t.oid), here.place, ' ON ')
    FROM own CROSS JOIN here JOIN pg_trigger t ON t.tgrelid = own.oid AND NOT t.tgisinternal
";
