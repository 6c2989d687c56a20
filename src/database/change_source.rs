//! The means to notice other processes' writes.

use diesel::r2d2::ManageConnection as _;

use super::{Backend, DataVersionPoller, Database, Listener, StoreError};

/// How to detect other processes' writes.
pub enum ChangeSource {
    /// SQLite: the file's change counter is polled.
    File(DataVersionPoller),
    /// PostgreSQL: the server notifies and is polled.
    Server(Box<Listener>),
}

impl Database {
    /// The means to notice other processes' writes.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened.
    pub fn change_source(&self) -> Result<ChangeSource, StoreError> {
        match &*self.backend {
            Backend::Sqlite { manager, fault, .. } => {
                let connection = manager.connect().map_err(|error| fault.unavailable(&error))?;
                Ok(ChangeSource::File(DataVersionPoller::new(
                    self.clone(),
                    connection,
                    fault.clone(),
                )))
            }
            Backend::Postgres(postgres) => Ok(ChangeSource::Server(postgres.listener())),
        }
    }
}
