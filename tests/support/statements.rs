//! Statements of a service, also those of SQLite's writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use diesel::Connection as _;
use diesel::connection::InstrumentationEvent;
use doorward::database::Database;

/// The statements of the writer of a SQLite database since this was created. With PostgreSQL they
/// are zero: its connections' statements are all in the load.
pub struct WriterStatements(Arc<AtomicU64>);

impl WriterStatements {
    pub async fn count(db: &Database) -> Self {
        let count = Arc::new(AtomicU64::new(0));
        if db.load().writer.is_none() {
            return Self(count);
        }
        let counter = Arc::clone(&count);
        let installed = db.write(move |tx| {
            let counter = Arc::clone(&counter);
            tx.connection().set_instrumentation(move |event: InstrumentationEvent<'_>| {
                // Not the writer's own PRAGMAs for the log, which depend on other connections.
                if let InstrumentationEvent::StartQuery { query, .. } = event
                    && !query.to_string().starts_with("PRAGMA")
                {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
            Ok(())
        });
        installed.await.unwrap();
        Self(count)
    }

    pub fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
