//! Detection of other processes' writes to the SQLite file.

use std::sync::{Arc, Mutex};

use diesel::QueryResult;
use tokio::time::timeout;

use super::connection::data_version;
use super::fault::StorageFault;
use super::{AnyConnection, CONNECTION_TIMEOUT, Database, StoreError, guarded};
use crate::locks;

/// Detects commits of other processes to the SQLite file by `PRAGMA data_version`, which changes
/// whenever another connection commits. On a reading connection that may have been this process's
/// own writer, ten times a second under load; so the writer's connection is asked as well.
pub struct DataVersionPoller {
    database: Database,
    connection: Arc<Mutex<AnyConnection>>,
    fault: StorageFault,
    version: Option<i64>,
    /// The version that the writer's connection reported.
    writers_version: Option<i64>,
}

impl DataVersionPoller {
    pub(super) fn new(database: Database, connection: AnyConnection, fault: StorageFault) -> Self {
        let connection = Arc::new(Mutex::new(connection));
        Self { database, connection, fault, version: None, writers_version: None }
    }

    /// The result of `unit`, if another process has committed since the last call, and at the
    /// first; otherwise `None`. Everything that this process committed before is visible to it.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read; then the next call reads again.
    pub async fn poll_changes<T: Send + 'static>(
        &mut self,
        unit: impl FnOnce(&mut AnyConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<Option<T>, StoreError> {
        let version = self.read(data_version).await?;
        if self.version == Some(version) {
            return Ok(None);
        }
        let mut changes = None;
        if self.others_have_written().await {
            let read = self.read(unit).await;
            if read.is_err() {
                self.writers_version = None;
            }
            changes = Some(read?);
        }
        self.version = Some(version);
        Ok(changes)
    }

    /// Whether other processes have committed, or the writer does not respond in time.
    async fn others_have_written(&mut self) -> bool {
        let asked = self.database.write(|tx| data_version(tx.connection()));
        let version = timeout(CONNECTION_TIMEOUT, asked).await.ok().and_then(Result::ok);
        let is_new = version.is_none() || self.writers_version != version;
        self.writers_version = version;
        is_new
    }

    async fn read<T: Send + 'static>(
        &self,
        unit: impl FnOnce(&mut AnyConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = Arc::clone(&self.connection);
        let fault = self.fault.clone();
        let work = move || {
            let mut connection = locks::lock(&connection);
            guarded(|| unit(&mut connection)).map_err(|error| fault.classify(&error))
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Failed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use diesel::connection::SimpleConnection as _;

    use super::*;
    use crate::database::{ChangeSource, DatabaseSettings, DatabaseUrl};
    use crate::secret::Secret;

    async fn write(database: &Database) {
        let insert = "INSERT INTO blocklist VALUES (hex(randomblob(16)), 1, 1)";
        database.write(|tx| tx.connection().batch_execute(insert)).await.unwrap();
    }

    #[tokio::test]
    async fn only_commits_of_other_processes_are_reported() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("doorward.db");
        let url = Secret::new(format!("sqlite://{}", path.display()));
        let settings = DatabaseSettings {
            url: DatabaseUrl::parse(&url).unwrap(),
            pool_size: 1,
            statement_timeout: Duration::from_secs(1),
            migrate: true,
        };
        let [own, other] = [(); 2].map(|()| Database::open(&settings).unwrap());
        let Ok(ChangeSource::File(mut watch)) = own.change_source() else {
            panic!("SQLite has a file")
        };
        let mut is_news = async || watch.poll_changes(|_| Ok(())).await.unwrap().is_some();
        assert!(is_news().await, "at first");
        assert!(!is_news().await);
        write(&own).await;
        assert!(!is_news().await);
        write(&other).await;
        assert!(is_news().await);
        assert!(!is_news().await);
        for between in [[&own, &other, &own], [&other, &own, &own], [&own, &own, &other]] {
            for database in between {
                write(database).await;
            }
            assert!(is_news().await);
            assert!(!is_news().await);
        }
    }
}
