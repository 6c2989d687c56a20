//! Operations on the database other than serving: the work behind `doorward db`.

use std::time::Duration;

use crate::accounts::email_keys;
use crate::accounts::mail_proof;
use crate::app::settings::{self, one_connection};
use crate::cli::{AdminError, Opened, actor, block_on};
use crate::config::Config;
use crate::database::{self, Database, DatabaseUrl};
use crate::tokens::revocation_id_of_kid;
use crate::{keys, mail, sessions};

pub(crate) use crate::accounts::email_keys::FormerKey;
pub(crate) use crate::database::SchemaReport;
pub(crate) use crate::database::maintenance::backup::{Backup, backup};
pub(crate) use crate::database::maintenance::copy::{
    Compared, CopyRole, CopyStep, Progress, compare, copy,
};

/// The deadline of one statement that changes every session's row.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Applies the pending migrations to the configured database and returns their names.
///
/// # Errors
/// [`AdminError`]; then nothing has changed.
pub(crate) fn migrate(config: &Config) -> Result<Vec<String>, AdminError> {
    let url = config.database()?;
    if let DatabaseUrl::Sqlite(_) = url {
        // As at a start: otherwise a database without its secret would look as if the secret were
        // lost.
        config.create_data_dir()?;
        config.master_secret()?;
    }
    Ok(database::migrate(&url)?)
}

/// Rewrites the former keys of e-mail addresses and returns their number.
///
/// # Errors
/// [`AdminError`]; then some may be rewritten.
pub(crate) fn rewrite_email_keys(config: &Config) -> Result<u64, AdminError> {
    block_on(async {
        let Opened { db, .. } = Opened::new(config).await?;
        Ok(email_keys::rewrite(&db, Duration::ZERO).await?)
    })
}

/// The accounts that are stored under a former key of their e-mail addresses.
///
/// # Errors
/// [`AdminError`] when they cannot be read.
pub(crate) fn former_email_keys(config: &Config) -> Result<Vec<FormerKey>, AdminError> {
    block_on(async {
        let Opened { db, .. } = Opened::read_only(config).await?;
        Ok(email_keys::former(&db).await?)
    })
}

/// Checks the configured database's schema without changing anything.
///
/// # Errors
/// [`AdminError`] when it cannot be checked.
pub(crate) fn check(config: &Config) -> Result<SchemaReport, AdminError> {
    Ok(database::check(&config.database()?)?)
}

/// The result of [`after_restore`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restored {
    /// Sessions that ended.
    pub sessions: usize,
    /// Signing keys that were removed.
    pub keys: usize,
}

/// Makes a restored backup safe to serve. One unit of work ends every session, deletes every mail
/// request, whose link would be valid again, raises the version of every account, and removes the
/// signing keys, because they may have signed access tokens that the backup does not know. Running
/// it twice is harmless.
///
/// # Errors
/// [`AdminError`]; then nothing has changed, unless the connection failed during the commit.
pub(crate) fn after_restore(config: &Config) -> Result<Restored, AdminError> {
    let mut settings = one_connection(config)?;
    settings.statement_timeout = STATEMENT_TIMEOUT;
    block_on(async {
        let db = Database::open_existing(&settings)?.with_actor(&actor());
        let opened = Opened::at(db).await?;
        let revocations = opened.revocations(config);
        let Opened { db, clocks } = opened;
        let clock = clocks.clock;
        let life = settings::key_policy(config).trusted_for();
        let restored = db.write(move |tx| {
            let now = clock.now();
            // First the users' rows; links that were mailed before are no longer valid.
            mail_proof::raise_every_version(tx)?;
            let sessions = sessions::end_every_session(tx, now)?;
            mail::requests::delete_all(tx)?;
            let keys = keys::admin::remove_all(tx)?;
            // For subscribers of the revocation feed: they still have the keys in memory.
            for id in keys.iter().filter_map(|kid| revocation_id_of_kid(kid)) {
                revocations.revoke_for(tx, id.into(), life, now)?;
            }
            Ok(Restored { sessions, keys: keys.len() })
        });
        Ok(restored.await?)
    })
}
