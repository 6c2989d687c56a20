//! One unit of work that writes.

use std::sync::Arc;

use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;
use diesel::result::{DatabaseErrorKind, Error};

use super::AnyConnection;
use super::postgres::{self, CallerAlive};

/// A callback that runs once a unit is on disk, before its caller gets the result.
pub(super) type Hook = Box<dyn FnOnce() + Send>;

/// A unit of work in progress.
pub struct Tx<'a> {
    pub(super) connection: &'a mut AnyConnection,
    pub(super) hooks: &'a mut Vec<Hook>,
    pub(super) state: &'a mut TxState,
    pub(super) caller: &'a CallerAlive,
    pub(super) actor: Option<Arc<str>>,
}

/// The stage of a unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TxState {
    /// It has only read, each statement on its own.
    Reading,
    /// Its only write statement may have been sent.
    Writing,
    /// It is in a transaction.
    InTransaction,
}

impl Tx<'_> {
    /// The connection to run queries on; in [`super::Database::write_one`], only reads.
    pub const fn connection(&mut self) -> &mut AnyConnection {
        self.connection
    }

    /// The connection for the only write statement of a unit of [`super::Database::write_one`].
    pub fn connection_to_write(&mut self) -> &mut AnyConnection {
        if *self.state == TxState::Reading {
            *self.state = TxState::Writing;
        }
        self.connection
    }

    /// The operator for whom the unit runs ([`super::Database::with_actor`]); none for a user or
    /// the service itself.
    #[must_use]
    pub fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    /// Begins the transaction that a unit of [`super::Database::write_one`] needs for more than one
    /// write statement; an earlier write statement, which changed nothing, stays outside. In every
    /// other unit the transaction exists already.
    ///
    /// # Errors
    /// When the connection failed or the unit's caller is gone; the unit should then return this
    /// error.
    pub fn begin(&mut self) -> QueryResult<()> {
        if *self.state != TxState::InTransaction {
            self.caller.ensure_alive()?;
            self.connection.batch_execute(postgres::BEGIN)?;
            *self.state = TxState::InTransaction;
        }
        Ok(())
    }

    /// Runs `work` in a savepoint and rolls it back when it returns `None` or violates a unique
    /// key.
    ///
    /// # Errors
    /// When the database or `work` fails; the unit should then return this error.
    pub fn in_savepoint<T>(
        &mut self,
        work: impl FnOnce(&mut Tx<'_>) -> QueryResult<Option<T>>,
    ) -> QueryResult<Option<T>> {
        self.begin()?;
        self.connection.batch_execute("SAVEPOINT part")?;
        let hooks = self.hooks.len();
        let done = match work(self) {
            // PostgreSQL continues only after a rollback to the savepoint.
            Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => None,
            done => done?,
        };
        if done.is_none() {
            self.hooks.truncate(hooks);
            self.connection.batch_execute("ROLLBACK TO SAVEPOINT part")?;
        }
        self.connection.batch_execute("RELEASE SAVEPOINT part")?;
        Ok(done)
    }

    /// Runs `hook` when this unit is on disk and before its caller gets the result; never if it is
    /// not committed. Unlike code after the `.await`, it runs even if the client has disconnected
    /// meanwhile.
    pub fn after_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.push(Box::new(hook));
    }
}
