//! Connections that PostgreSQL, or a pooler in front of it, refuses: the reason, and when the pool
//! tries again.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use diesel::QueryResult;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable};
use tokio::time::Instant;

use super::AnyConnection;
use crate::locks;

/// A node's connections outside its pool: two that poll and notify about revocations, and one that
/// listens.
pub const CONNECTIONS_OUTSIDE_POOL: u32 = 3;

/// The server's messages when it has no connection left: diesel does not pass on the SQLSTATE
/// (53300) of a failed connection. The last three are for PgBouncer.
const FULL_MESSAGES: [&str; 7] = [
    "too many connections for",
    "too many clients already",
    "remaining connection slots are reserved",
    "sorry, too many clients",
    "no more connections allowed",
    "query_wait_timeout",
    UNANSWERED,
];

/// A pooler in session mode accepts a connection although its pool is full, and delays the
/// connection's first statement.
pub(super) const UNANSWERED: &str =
    "a connection was accepted, and its first statement gets no answer";

/// The time after which a connection attempt can only be waiting for its first statement: libpq
/// ends an attempt that is not accepted earlier (`connect_timeout`).
const ACCEPTED_AFTER: Duration = Duration::from_secs(4);

/// The prefix of diesel's prepared statements; no other statement of Doorward's has it.
const PREPARED_STATEMENT_PREFIX: &str = "__diesel_stmt_";

/// The first and the longest pause between two attempts at a server that has no connection left.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// How often the log repeats that connections are refused.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The lower one of the role's and the database's limit. A superuser has none.
const CONNECTION_LIMIT: &str = "
    SELECT least(nullif(role.rolconnlimit, -1), nullif(base.datconnlimit, -1)) AS most
    FROM pg_roles AS role, pg_database AS base
    WHERE role.rolname = session_user AND base.datname = current_database() AND NOT role.rolsuper";

/// A refusal with a specific remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalReason {
    /// A connection limit is reached.
    Full,
    /// A pooler runs a connection's prepared statements on another connection.
    Pooler,
}

impl RefusalReason {
    pub(super) fn of(text: &str) -> Option<Self> {
        if text.contains(PREPARED_STATEMENT_PREFIX) {
            return Some(Self::Pooler);
        }
        FULL_MESSAGES.iter().any(|words| text.contains(words)).then_some(Self::Full)
    }

    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Full => {
                "every connection that it allows is in use: a node needs database.pool_size and \
                 three more, so lower database.pool_size, or raise the CONNECTION LIMIT of the role \
                 and of the database, max_connections, or the pooler's own limit \
                 (default_pool_size of PgBouncer)"
            }
            Self::Pooler => {
                "a connection pooler in front of PostgreSQL mixes up prepared statements: use \
                 PgBouncer 1.21 or later with max_prepared_statements = 200, or pool_mode = session, \
                 or connect to PostgreSQL itself"
            }
        }
    }
}

/// Checks that two connections keep their prepared statements apart; a pooler in transaction mode
/// that does not would run one connection's statement for another. Call it before either of them
/// has prepared a statement.
pub(super) fn prepare_separately(connections: [&mut AnyConnection; 2]) -> QueryResult<()> {
    for connection in connections {
        diesel::select(1.into_sql::<Integer>()).get_result::<i32>(connection)?;
    }
    Ok(())
}

/// The maximum number of connections of this role over all nodes, if there is one. A server that
/// only speaks PostgreSQL's protocol may not report it.
pub(super) fn connection_limit(connection: &mut AnyConnection) -> Option<u32> {
    let limit: Option<i32> =
        sql::<Nullable<Integer>>(CONNECTION_LIMIT).get_result(connection).ok()?;
    limit?.try_into().ok()
}

/// The largest pool size that leaves the connections outside the pool available.
pub(super) fn pool_size(connection: &mut AnyConnection, wanted: u32) -> u32 {
    let Some(limit) =
        connection_limit(connection).filter(|limit| wanted + CONNECTIONS_OUTSIDE_POOL > *limit)
    else {
        return wanted;
    };
    let size = limit.saturating_sub(CONNECTIONS_OUTSIDE_POOL).max(1);
    tracing::warn!(
        connection_limit = limit,
        pool_size = size,
        "the CONNECTION LIMIT of this role or database is below database.pool_size and three more, \
         so the pool is smaller; raise the limit, or lower database.pool_size"
    );
    size
}

/// Limits connection attempts to a server that has no connection left, and the log lines about
/// them.
#[derive(Debug, Default)]
pub(super) struct ConnectionRefusals {
    state: Mutex<State>,
    /// The number of connections that this node opens.
    wanted: u32,
}

#[derive(Debug, Default)]
struct State {
    /// When the attempts began that have not ended.
    attempts: Vec<Instant>,
    /// The end of the pause, its length, and the server's message.
    pause: Option<(Instant, Duration, String)>,
    logged: Option<(Instant, String)>,
}

impl ConnectionRefusals {
    /// Creates the state for a node with `size` connections in its pool.
    pub(super) fn for_pool_of(size: u32) -> Self {
        Self { wanted: size + CONNECTIONS_OUTSIDE_POOL, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locks::lock(&self.state)
    }

    /// Records a connection attempt, which ends when the returned guard is dropped.
    pub(super) fn attempt(&self, now: Instant) -> Attempt<'_> {
        self.lock().attempts.push(now);
        Attempt { refusals: self, began: now }
    }

    /// Whether a connection was accepted and its first statement gets no response; then a refusal
    /// is recorded.
    pub(super) fn record_if_unanswered(&self, now: Instant) -> bool {
        let is_unanswered = |began: &Instant| now >= *began + ACCEPTED_AFTER;
        let any = self.lock().attempts.iter().any(is_unanswered);
        if any {
            self.record(now, UNANSWERED);
        }
        any
    }

    /// The server's message, while the pause lasts.
    pub(super) fn paused_with(&self, now: Instant) -> Option<String> {
        let state = self.lock();
        let (until, _, said) = state.pause.as_ref()?;
        (now < *until).then(|| said.clone())
    }

    /// Ends the pause: a connection was opened, or an open one was closed.
    pub(super) fn clear(&self) {
        self.lock().pause = None;
    }

    pub(super) fn record(&self, now: Instant, said: &str) {
        let reason = RefusalReason::of(said);
        let mut state = self.lock();
        let pauses = state.pause.as_ref().is_some_and(|(until, ..)| now < *until);
        if reason == Some(RefusalReason::Full) && !pauses {
            let [first, longest] = RETRY_DELAYS;
            let next = state.pause.as_ref().map_or(first, |(_, last, _)| (*last * 2).min(longest));
            state.pause = Some((now + next, next, said.to_owned()));
        }
        let is_known = |(at, text): &(Instant, String)| *text == said && now < *at + LOG_INTERVAL;
        if state.logged.as_ref().is_some_and(is_known) {
            return;
        }
        state.logged = Some((now, said.to_owned()));
        drop(state);
        let remedy = reason.map(RefusalReason::remedy);
        let connections_wanted = self.wanted;
        tracing::error!(error = said, connections_wanted, remedy, "no connection to the database");
    }
}

/// An attempt at a connection that is under way.
pub(super) struct Attempt<'a> {
    refusals: &'a ConnectionRefusals,
    began: Instant,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.refusals.lock();
        if let Some(own) = state.attempts.iter().position(|began| *began == self.began) {
            state.attempts.swap_remove(own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_a_connection_left_is_retried_with_growing_pauses() {
        let (refusals, start) = (ConnectionRefusals::default(), Instant::now());
        let mut asked = Vec::new();
        for tenth in 0..300_u64 {
            let now = start + Duration::from_millis(100) * u32::try_from(tenth).unwrap();
            if refusals.paused_with(now).is_none() {
                refusals.record(now, "FATAL: too many connections for role \"door\"");
                asked.push(tenth);
            }
        }
        assert_eq!(asked, [0, 10, 30, 70, 150, 250]);
        refusals.clear();
        assert_eq!(refusals.paused_with(start), None);
    }

    #[test]
    fn an_unreachable_server_is_retried_at_once() {
        let (refusals, start) = (ConnectionRefusals::default(), Instant::now());
        refusals.record(start, "connection refused");
        assert_eq!(refusals.paused_with(start), None);
    }

    #[test]
    fn a_connection_that_is_accepted_and_not_answered_is_a_refusal() {
        let (refusals, start) = (ConnectionRefusals::for_pool_of(8), Instant::now());
        let attempt = refusals.attempt(start);
        assert!(!refusals.record_if_unanswered(start + ACCEPTED_AFTER / 2));
        assert_eq!(refusals.paused_with(start), None);
        let later = start + ACCEPTED_AFTER;
        assert!(refusals.record_if_unanswered(later));
        assert_eq!(refusals.paused_with(later).as_deref(), Some(UNANSWERED));
        drop(attempt);
        refusals.clear();
        assert!(!refusals.record_if_unanswered(later));
    }
}
