//! The database's own time: for whatever must not depend on the clock of one process.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::{AnyConnection, Database, StoreError};
use crate::clock::{Clock, Timestamp};

/// PostgreSQL's clock in microseconds since 1970, as SQL.
const POSTGRES_MICROS: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// The newest moment that a SQLite database holds.
const NEWEST: &str = "SELECT max(at) AS micros FROM (
    SELECT max(created_at) AS at FROM users UNION ALL
    SELECT max(password_changed_at) FROM users UNION ALL
    SELECT max(last_login_at) FROM users UNION ALL
    SELECT max(last_seen_at) FROM sessions UNION ALL
    SELECT max(revoked_at) FROM sessions UNION ALL
    SELECT max(revoked_at) FROM blocklist UNION ALL
    SELECT max(created_at) FROM signing_keys UNION ALL
    SELECT max(activated_at) FROM signing_keys UNION ALL
    SELECT max(created_at) FROM clients UNION ALL
    SELECT max(at) FROM audit_events)";

impl Database {
    /// The clock for an operator's command: it shows the database's time, whatever the machine that
    /// the command runs on says.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot answer.
    pub async fn clock(&self) -> Result<Clock, StoreError> {
        let now = self.read_without_timeout(|c| trusted_time(c, Clock::system().now())).await?;
        Ok(Clock::system_from(now))
    }

    /// This moment, or the database's time if that is earlier: what expires in the database has
    /// expired by then, whatever the clock of this process says. SQLite has no clock of its own.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot answer.
    pub async fn not_later(&self, own: Timestamp) -> Result<Timestamp, StoreError> {
        let server = self.read_without_timeout(server_time).await?;
        Ok(server.map_or(own, |server| own.min(server)))
    }
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// The larger one, on PostgreSQL.
    fn greatest(one: BigInt, other: BigInt) -> BigInt;
}

/// The moment `life` after PostgreSQL's present, as SQL.
pub fn server_time_after(life: Duration) -> SqlLiteral<BigInt> {
    sql(&format!("{POSTGRES_MICROS} + {}", life.as_micros()))
}

#[derive(QueryableByName)]
struct Micros {
    #[diesel(sql_type = Nullable<BigInt>)]
    micros: Option<i64>,
}

/// What PostgreSQL's clock says; nothing for SQLite, which has none.
///
/// # Errors
/// Whatever the database says.
pub fn server_time(connection: &mut AnyConnection) -> QueryResult<Option<Timestamp>> {
    let AnyConnection::Postgres(c) = connection else { return Ok(None) };
    let now = diesel::sql_query(format!("SELECT {POSTGRES_MICROS} AS micros"));
    Ok(now.get_result::<Micros>(c)?.micros.map(Timestamp::from_micros))
}

/// The time for a process whose own clock, which says `own`, may be wrong: PostgreSQL's, or with
/// SQLite the later of its own and the newest moment that the database holds.
///
/// # Errors
/// Whatever the database says.
pub fn trusted_time(connection: &mut AnyConnection, own: Timestamp) -> QueryResult<Timestamp> {
    if let Some(now) = server_time(connection)? {
        return Ok(now);
    }
    let AnyConnection::Sqlite(c) = connection else { return Ok(own) };
    let newest = diesel::sql_query(NEWEST).get_result::<Micros>(c)?.micros;
    Ok(newest.map_or(own, |newest| own.max(Timestamp::from_micros(newest))))
}
