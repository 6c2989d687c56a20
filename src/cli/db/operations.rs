//! What is done with the data beside serving it: the work behind `doorward db`.

use std::time::Duration;

use crate::app::settings::{self, one_connection};
use crate::cli::warn_if_behind;
use crate::config::{Config, ConfigError};
use crate::database::time::CommandClocks;
use crate::database::{self, Database, DatabaseUrl, OpenError, StoreError};
use crate::revocations::Revocations;
use crate::tokens::revocation_id_of_kid;
use crate::{keys, sessions};

pub(crate) use crate::database::SchemaReport;
pub(crate) use crate::database::maintenance::backup::{Backup, backup};
pub(crate) use crate::database::maintenance::copy::{
    Compared, CopyRole, CopyStep, Progress, compare, copy,
};

/// One statement changes every session's row, however many there are.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Why it was not done: one line that says what, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database was opened and then failed.
    #[error(
        "the database failed ({0}); the log has the cause: stop Doorward on every node, and run this \
         again"
    )]
    Store(#[from] StoreError),
}

/// Applies the migrations that the configured database lacks, and answers their names.
///
/// # Errors
/// [`DataError`]; nothing has changed then.
pub(crate) fn migrate(config: &Config) -> Result<Vec<String>, DataError> {
    let url = config.database()?;
    if let DatabaseUrl::Sqlite(_) = url {
        // As a start does: a database without its secret would later look as if that were lost.
        config.create_data_dir()?;
        config.master_secret()?;
    }
    Ok(database::migrate(&url)?)
}

/// Looks for what is wrong with the configured database's schema, and changes nothing.
///
/// # Errors
/// [`DataError`] when it cannot be looked at.
pub(crate) fn check(config: &Config) -> Result<SchemaReport, DataError> {
    Ok(database::check(&config.database()?)?)
}

/// What [`restored`] did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restored {
    /// Sessions that were ended.
    pub sessions: usize,
    /// Signing keys that were removed.
    pub keys: usize,
}

/// Makes an older backup safe to serve: in one unit of work ends every session, and removes the
/// signing keys with which access tokens were signed that the backup knows nothing of. Doing it
/// twice does no harm.
///
/// # Errors
/// [`DataError`]; nothing has changed then, unless the connection broke in the very moment of the
/// commit.
pub(crate) fn after_restore(config: &Config) -> Result<Restored, DataError> {
    let mut settings = one_connection(config)?;
    settings.statement_timeout = STATEMENT_TIMEOUT;
    actix_web::rt::System::new().block_on(async {
        let db = Database::open_existing(&settings)?;
        let clocks = db.clocks().await?;
        warn_if_behind(&clocks);
        let CommandClocks { clock, expiry_clock, .. } = clocks;
        let policy = settings::revocation_policy(config);
        let revocations = Revocations::load(db.clone(), clock.clone(), policy).await?;
        let revocations = revocations.with_expiry_clock(expiry_clock);
        let life = settings::key_policy(config).trusted_for();
        let restored = db.write(move |tx| {
            let now = clock.now();
            let sessions = sessions::end_every_session(tx, now)?;
            let keys = keys::admin::remove_all(tx)?;
            // For the services that follow the feed: they have the keys in their memory yet.
            for id in keys.iter().filter_map(|kid| revocation_id_of_kid(kid)) {
                revocations.revoke_for(tx, id.into(), life, now)?;
            }
            Ok(Restored { sessions, keys: keys.len() })
        });
        Ok(restored.await?)
    })
}
