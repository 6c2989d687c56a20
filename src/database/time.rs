//! The database's own time, for decisions that must not depend on one process's clock.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::{AnyConnection, Database, StoreError};
use crate::clock::{Clock, Timestamp};

/// PostgreSQL's clock in microseconds since 1970, as SQL.
pub(crate) const POSTGRES_MICROS: &str =
    "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// How far a SQLite database may be ahead of this machine's clock before a command warns.
const MAX_AHEAD: Duration = Duration::from_secs(60);

/// The latest time stored in a SQLite database.
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
    SELECT max(at) FROM audit_events UNION ALL
    SELECT max(created_at) FROM mail_requests)";

impl Database {
    /// The clocks of an admin command.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot answer.
    pub async fn clocks(&self) -> Result<CommandClocks, StoreError> {
        self.read_without_timeout(|c| CommandClocks::read(c, Clock::system())).await
    }

    /// The current time, or the database's if that is earlier: a row that has expired by it has
    /// also expired by the database's clock, even if this process's clock is wrong. SQLite has no
    /// clock of its own.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot answer.
    pub async fn not_later(&self, own: Timestamp) -> Result<Timestamp, StoreError> {
        let server = self.read_without_timeout(server_time).await?;
        Ok(server.map_or(own, |server| own.min(server)))
    }
}

/// The clocks of an admin command, whose machine may have a wrong one.
#[derive(Clone, Debug)]
pub struct CommandClocks {
    /// PostgreSQL's clock; with SQLite, which has none, this machine's.
    pub clock: Clock,
    /// The clock by which revocations are listed: with SQLite the later of this machine's and the
    /// newest time stored in the database. Listing a revocation for too long is harmless; removing
    /// it too early makes tokens valid again.
    pub expiry_clock: Clock,
    /// The newest time in a SQLite database, if it is far ahead of this machine's clock.
    pub ahead: Option<Timestamp>,
}

impl CommandClocks {
    pub(super) fn read(connection: &mut AnyConnection, own: Clock) -> QueryResult<Self> {
        if let Some(now) = server_time(connection)? {
            let clock = Clock::system_from(now);
            return Ok(Self { expiry_clock: clock.clone(), clock, ahead: None });
        }
        let (now, newest) = (own.now(), newest(connection)?);
        let later = newest.map_or(now, |newest| newest.max(now));
        let ahead = newest.filter(|newest| *newest > now.plus(MAX_AHEAD));
        Ok(Self { clock: own, expiry_clock: Clock::system_from(later), ahead })
    }
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// The larger value, on PostgreSQL.
    fn greatest(one: BigInt, other: BigInt) -> BigInt;
}

/// The time `life` after PostgreSQL's current time, as SQL.
pub fn server_time_after(life: Duration) -> SqlLiteral<BigInt> {
    sql(&format!("{POSTGRES_MICROS} + {}", life.as_micros()))
}

/// PostgreSQL's current time; `None` for SQLite, which has no clock.
///
/// # Errors
/// The database error.
pub fn server_time(connection: &mut AnyConnection) -> QueryResult<Option<Timestamp>> {
    let AnyConnection::Postgres(c) = connection else { return Ok(None) };
    let now = sql::<BigInt>(&format!("SELECT {POSTGRES_MICROS}"));
    now.get_result(c).map(|micros| Some(Timestamp::from_micros(micros)))
}

fn newest(connection: &mut AnyConnection) -> QueryResult<Option<Timestamp>> {
    let AnyConnection::Sqlite(c) = connection else { return Ok(None) };
    let newest: Option<i64> = sql::<Nullable<BigInt>>(NEWEST).get_result(c)?;
    Ok(newest.map(Timestamp::from_micros))
}
