//! Opening a database: to serve, for a command that changes it, and for one that only reads.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::checkpoint::Checkpoints;
use super::connection::Manager;
use super::connection_refusals;
use super::fault::StorageFault;
use super::file_identity::FileIdentity;
use super::maintenance::migrations;
use super::postgres::Postgres;
use super::write_refusals::WriteRefusals;
use super::writer::Writer;
use super::{
    AnyConnection, Backend, CONNECTION_TIMEOUT, Database, DatabaseSettings, DatabaseUrl,
    MAX_QUEUED_READS, OpenError, Readers,
};

impl DatabaseSettings {
    /// Rejects a SQLite database that is missing or empty when no migration may be applied to it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn refuse_missing(&self) -> Result<(), OpenError> {
        if self.migrate { Ok(()) } else { self.url.must_not_be_empty() }
    }
}

impl Database {
    /// Connects, applies migrations, and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`]: the database cannot be reached, or its schema is incompatible.
    pub fn open(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        let manager = Manager::new(settings, CONNECTION_TIMEOUT);
        Self::connect(settings, manager, true, |first| {
            migrations::migrate(first, settings.migrate).map(drop)
        })
    }

    /// Opens an existing database for a command that writes: neither a SQLite file nor, in an empty
    /// database, the tables are created.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_existing(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        settings.url.must_not_be_empty()?;
        settings.url.refuse_other_log()?;
        let manager = Manager::new(settings, CONNECTION_TIMEOUT);
        Self::connect(settings, manager, false, |first| {
            if migrations::versions(first)?.is_empty() {
                return Err(OpenError::Empty(settings.url.named()));
            }
            migrations::migrate(first, settings.migrate).map(drop)
        })
    }

    /// Opens an existing database for a command that only reads: no migration is applied, and
    /// SQLite's files stay unchanged.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_read_only(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        settings.url.must_not_be_empty()?;
        settings.url.refuse_other_log()?;
        let manager = Manager::new(settings, CONNECTION_TIMEOUT).for_inspection();
        Self::connect(settings, manager, false, |first| {
            let versions = migrations::versions(first)?;
            if versions.is_empty() {
                return Err(OpenError::Empty(settings.url.named()));
            }
            match versions.is_current(false) {
                Err(OpenError::Pending(migration)) => Err(OpenError::Outdated(migration)),
                current => current,
            }
        })
    }

    fn connect(
        settings: &DatabaseSettings,
        manager: Manager,
        serves: bool,
        prepare: impl FnOnce(&mut AnyConnection) -> Result<(), OpenError>,
    ) -> Result<Self, OpenError> {
        settings.url.warn_if_exposed();
        settings.url.refuse_exposed()?;
        let mut first = manager.open()?;
        manager.refuse_mixed_statements(&mut first)?;
        prepare(&mut first)?;
        let statements = Arc::default();
        let backend = match &settings.url {
            DatabaseUrl::Sqlite(path) => {
                let fault = StorageFault::new(path);
                let files = FileIdentity::of(path, &mut first, fault.clone());
                let checkpoints = Checkpoints::start(&mut first, manager.open()?, fault.clone());
                Backend::Sqlite {
                    writer: Writer::start(first, checkpoints, files, fault.clone()),
                    readers: readers(&manager.counted_by(&statements), settings.pool_size),
                    permits: Arc::new(Semaphore::new(MAX_QUEUED_READS)),
                    manager,
                    fault,
                }
            }
            DatabaseUrl::Postgres(_) => {
                let size = connection_refusals::pool_size(&mut first, settings.pool_size);
                drop(first);
                let manager = manager.counted_by(&statements);
                let open = if serves { Postgres::serving } else { Postgres::new };
                Backend::Postgres(open(manager, size, settings.statement_timeout))
            }
        };
        Ok(Self {
            backend: Arc::new(backend),
            statements,
            write_refusals: WriteRefusals::default(),
            actor: None,
        })
    }
}

/// Applies the pending migrations and returns their names.
///
/// # Errors
/// [`OpenError`] when the database cannot be reached, or a migration fails; then nothing has
/// changed.
pub fn migrate(url: &DatabaseUrl) -> Result<Vec<String>, OpenError> {
    url.refuse_exposed()?;
    url.refuse_other_log()?;
    migrations::migrate(&mut Manager::without_timeouts(url).open()?, true)
}

fn readers(manager: &Manager, size: u32) -> Readers {
    r2d2::Pool::builder()
        .max_size(size)
        .min_idle(Some(1))
        .connection_timeout(CONNECTION_TIMEOUT)
        .build_unchecked(manager.clone().read_only())
}
