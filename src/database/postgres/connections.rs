//! A pooled connection, and the manager that opens them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, mpsc};
use std::thread;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::ConnectionError;
use diesel::r2d2::ManageConnection;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::{QueryResult, r2d2};
use tokio::time::Instant;

use super::CallerAlive;
use crate::database::connection::Manager;
use crate::database::connection_refusals::ConnectionRefusals;
use crate::database::open_error::one_line;
use crate::database::{AnyConnection, Hook, Tx, TxState, guarded};

/// A connection, and whether it is still usable.
pub(in crate::database) struct PgConnectionState {
    connection: AnyConnection,
    pub(super) is_broken: bool,
}

impl Deref for PgConnectionState {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for PgConnectionState {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

impl PgConnectionState {
    /// Runs a statement; on failure the connection is broken and not used again.
    pub(super) fn execute_or_mark_broken(&mut self, statement: &str) -> bool {
        self.is_broken |= self.connection.batch_execute(statement).is_err();
        self.is_broken
    }

    /// Runs the unit, and ends the transaction if one was begun.
    pub(super) fn transact<T>(
        &mut self,
        hooks: &mut Vec<Hook>,
        state: &mut TxState,
        unit: &mut impl FnMut(&mut Tx<'_>) -> QueryResult<T>,
        caller: &CallerAlive,
    ) -> QueryResult<T> {
        let connection = &mut self.connection;
        let mut result =
            guarded(|| unit(&mut Tx { connection, hooks, state, caller, actor: None }));
        if *state == TxState::InTransaction {
            // If the response is lost, it is unknown whether the commit was made.
            result = result.and_then(|value| {
                caller.ensure_alive()?;
                self.connection.batch_execute("COMMIT").map(|()| value)
            });
        }
        if let Err(error) = &result {
            // A server that rejects writes is not the primary any more.
            self.is_broken |= matches!(
                error,
                DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _)
            );
            self.execute_or_mark_broken(if *state == TxState::InTransaction {
                "ROLLBACK"
            } else {
                "SELECT 1"
            });
        }
        result
    }
}

/// Opens connections for r2d2, and returns usable ones to the pool.
#[derive(Clone)]
pub(in crate::database) struct PgManager {
    manager: Manager,
    pub(super) refusals: Arc<ConnectionRefusals>,
}

impl PgManager {
    pub(super) fn new(manager: &Manager, refusals: &Arc<ConnectionRefusals>) -> Self {
        Self { manager: manager.clone(), refusals: Arc::clone(refusals) }
    }

    /// A new connection, unless the server has just refused one because it has none left.
    pub(in crate::database) fn another(&self) -> Result<AnyConnection, r2d2::Error> {
        if let Some(said) = self.refusals.paused_with(Instant::now()) {
            return Err(r2d2::Error::ConnectionError(ConnectionError::BadConnection(said)));
        }
        let made = {
            let _attempt = self.refusals.attempt(Instant::now());
            self.manager.connect()
        };
        match &made {
            Ok(_) => self.refusals.clear(),
            Err(error) => self.refusals.record(Instant::now(), &one_line(error)),
        }
        made
    }

    /// A new connection; `None` when there is none at the deadline, because a pooler may delay it
    /// for long.
    pub(in crate::database) fn another_by(&self, deadline: Instant) -> Option<AnyConnection> {
        let (made, waits) = mpsc::sync_channel(1);
        let manager = self.clone();
        let attempt = move || {
            // If the caller no longer waits, the connection is closed.
            let _ = made.send(manager.another());
        };
        thread::Builder::new().name("doorward-connect".into()).spawn(attempt).ok()?;
        waits.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?.ok()
    }
}

impl ManageConnection for PgManager {
    type Connection = PgConnectionState;
    type Error = r2d2::Error;

    fn connect(&self) -> Result<PgConnectionState, Self::Error> {
        Ok(PgConnectionState { connection: self.another()?, is_broken: false })
    }

    fn is_valid(&self, _: &mut PgConnectionState) -> Result<(), Self::Error> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut PgConnectionState) -> bool {
        let has_broken = connection.is_broken || thread::panicking();
        if has_broken {
            self.refusals.clear();
        }
        has_broken
    }
}
