//! One unit of work that writes.

use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;

use super::AnyConnection;
use super::postgres::{self, CallerAlive};

/// What runs once a unit is on disk, before anybody is told.
pub(super) type Hook = Box<dyn FnOnce() + Send>;

/// A unit of work that is being written.
pub struct Tx<'a> {
    pub(super) connection: &'a mut AnyConnection,
    pub(super) hooks: &'a mut Vec<Hook>,
    pub(super) state: &'a mut TxState,
    pub(super) caller: &'a CallerAlive,
}

/// How far a unit of work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TxState {
    /// It has only read, each statement for itself.
    Reading,
    /// Its one statement that writes may have been sent.
    Writing,
    /// It is in a transaction.
    InTransaction,
}

impl Tx<'_> {
    /// The connection to run queries on; in [`super::Database::write_one`], to read.
    pub const fn connection(&mut self) -> &mut AnyConnection {
        self.connection
    }

    /// The connection for the one statement by which a unit of [`super::Database::write_one`] writes.
    pub fn connection_to_write(&mut self) -> &mut AnyConnection {
        if *self.state == TxState::Reading {
            *self.state = TxState::Writing;
        }
        self.connection
    }

    /// Begins the transaction that a unit of [`super::Database::write_one`] needs to write by more than
    /// one statement; a statement that wrote before, and changed nothing, stays outside. Anywhere
    /// else there is a transaction already.
    ///
    /// # Errors
    /// When the connection is gone, or whoever waited for the unit; it should end with that.
    pub fn begin(&mut self) -> QueryResult<()> {
        if *self.state != TxState::InTransaction {
            self.caller.ensure_alive()?;
            self.connection.batch_execute(postgres::BEGIN)?;
            *self.state = TxState::InTransaction;
        }
        Ok(())
    }

    /// Runs `hook` when this unit is on disk and before its answer leaves; never when it is not.
    /// Unlike code behind the `.await`, it runs even if the client has hung up meanwhile.
    pub fn after_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.push(Box::new(hook));
    }
}
