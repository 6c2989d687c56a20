//! What runs beside the requests, for as long as the service does.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::clock_jumps::{JumpDetector, MAX_CLOCK_JUMP};
use super::metrics::RowCounts;
use crate::accounts::throttle::LoginThrottle;
use crate::clock::{Clock, Timestamp};
use crate::config::SecretFile;
use crate::database::ChangeSource;
use crate::http::middleware::cors::ClientOrigins;
use crate::http::server::tls::Tls;
use crate::http::{Api, Limits};
use crate::revocations::sync::SyncMode;
use crate::tokens;

/// How often the certificate's files are looked at.
const CERTIFICATE_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often the file with the master secret is looked at.
const SECRET_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often expired rows are purged, limiters swept and signing keys looked after.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(60);

/// How often the costs of stored password hashes are counted.
const STORED_COSTS_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// How often failed logins are stored, those of each account in one row.
const FAILURE_FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// How soon what failed and cannot wait is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often memory that was freed is given back to the system.
const MEMORY_RETURN_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes that are far too many for the allocator's pages of small blocks.
const HUGE_ALLOCATION: usize = 4 * 1024 * 1024;

/// The pause between two batches of a purge, in which other units of work have their turn.
const PURGE_PAUSE: Duration = Duration::from_millis(20);

/// What runs beside the requests.
#[derive(Clone)]
pub(super) struct Tasks {
    pub api: Api,
    pub throttle: Arc<LoginThrottle>,
    pub limits: Limits,
    pub origins: ClientOrigins,
    pub clock: Clock,
    /// The life of an access token, with the leeway that verifiers grant.
    pub max_token_age: Duration,
    pub sync_mode: SyncMode,
    pub tls: Option<Tls>,
    pub row_counts: Option<Arc<RowCounts>>,
    pub secret_file: Option<SecretFile>,
    /// Set while that is missing or holds another secret.
    pub secret_file_missing: Arc<AtomicBool>,
}

impl Tasks {
    /// Goes on until it is dropped.
    pub(super) async fn run(&self, watch: ChangeSource) {
        tokio::join!(
            self.sync_revocations(watch),
            self.api.revocations.publish(),
            self.origins.reload_repeatedly(),
            self.maintain(),
            self.replace_revoked_key(),
            self.reload_certificate(),
            self.count_rows(),
            self.watch_secret_file(),
            self.write_failures(),
            self.probe_writes(),
            self.purge(),
            self.count_stored_costs(),
            return_freed_memory()
        );
    }

    /// Learns what other processes revoke.
    async fn sync_revocations(&self, watch: ChangeSource) {
        match watch {
            ChangeSource::File(watch) => self.api.revocations.sync_with_file(watch).await,
            ChangeSource::Server(link) => {
                self.api.revocations.sync_with_server(*link, self.sync_mode).await;
            }
        }
    }

    /// Looks after keys and gives back memory. What fails is tried again next time.
    async fn maintain(&self) {
        let mut tick = tokio::time::interval(MAINTENANCE_INTERVAL);
        loop {
            tick.tick().await;
            // A clock that is ahead would rotate keys before verifiers know the new ones.
            if self.api.revocations.is_clock_trusted()
                && let Err(error) = self.api.keys.maintain().await
            {
                tracing::error!(%error, "the signing keys could not be looked after");
            }
            self.throttle.sweep();
            self.limits.register.limiter().sweep();
            self.limits.password.limiter().sweep();
            self.api.refresh_limit.sweep();
            self.api.client_failures.sweep();
        }
    }

    /// Takes over another signing key as soon as the one in use is given up, on whichever node.
    async fn replace_revoked_key(&self) {
        let Api { keys, revocations, .. } = &self.api;
        let mut changes = revocations.changes();
        let is_revoked = || {
            let signing = tokens::revocation_id_of_kid(keys.signing().kid());
            signing.is_some_and(|id| revocations.contains(id.into()))
        };
        while changes.changed().await.is_ok() {
            while is_revoked() {
                if let Err(error) = keys.maintain().await {
                    tracing::error!(%error, "the signing key that was given up is still in use");
                }
                if is_revoked() {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// Serves a renewed certificate as soon as it is there.
    async fn reload_certificate(&self) {
        let mut tick = tokio::time::interval(CERTIFICATE_POLL_INTERVAL);
        while let Some(tls) = self.tls.clone() {
            tick.tick().await;
            let now = self.clock.now();
            let _ = tokio::task::spawn_blocking(move || tls.reload_if_changed(now)).await;
        }
    }

    /// Notices when the file with the master secret is deleted or changed. The service has the secret
    /// in memory and goes on, but no start would succeed.
    async fn watch_secret_file(&self) {
        let mut tick = tokio::time::interval(SECRET_POLL_INTERVAL);
        while let Some(file) = self.secret_file.clone() {
            tick.tick().await;
            let path = file.path().display().to_string();
            let checked = tokio::task::spawn_blocking(move || file.is_intact()).await;
            let is_missing = !checked.unwrap_or(true);
            let was_missing = self.secret_file_missing.swap(is_missing, Ordering::Relaxed);
            if is_missing && !was_missing {
                tracing::error!(
                    file = path,
                    "the file with the master secret was deleted, moved or changed; put it back \
                     before the service stops: without it no start succeeds"
                );
            } else if was_missing && !is_missing {
                tracing::info!(file = path, "the file with the master secret is back");
            }
        }
    }

    /// Stores the failures of logins that have been summed. What fails is tried again next time.
    async fn write_failures(&self) {
        let mut tick = tokio::time::interval(FAILURE_FLUSH_INTERVAL);
        loop {
            tick.tick().await;
            let _ = self.api.audit.flush_failures().await;
        }
    }

    /// Notices when a database that refused writes takes them again.
    async fn probe_writes(&self) {
        let mut tick = tokio::time::interval(RETRY_INTERVAL);
        loop {
            tick.tick().await;
            self.api.db.probe_writes().await;
        }
    }

    /// Counts rows for whoever watches.
    async fn count_rows(&self) {
        if let Some(row_counts) = &self.row_counts {
            row_counts.count_repeatedly(&self.api).await;
        }
    }

    /// Counts what stored password hashes cost, at the start and once a day: they change when owners
    /// log in after the configured cost was lowered.
    async fn count_stored_costs(&self) {
        loop {
            let counted = self.api.accounts.count_stored_costs().await;
            let pause = if counted.is_ok() { STORED_COSTS_INTERVAL } else { MAINTENANCE_INTERVAL };
            tokio::time::sleep(pause).await;
        }
    }

    /// Deletes what is no longer needed.
    ///
    /// A clock that is wrong for a while must not make it forget what was revoked. So nothing is
    /// deleted until the clock has gone evenly for as long as an access token lives: then no token
    /// from before is alive, whatever the clock said. Nor while it is far from the database's.
    async fn purge(&self) {
        let mut tick = tokio::time::interval(MAINTENANCE_INTERVAL);
        let mut clock = JumpDetector::new(self.clock.clone());
        loop {
            tick.tick().await;
            let agrees = self.api.revocations.clock_skew() < MAX_CLOCK_JUMP;
            let moment = clock.now_if_steady(self.max_token_age).filter(|_| agrees);
            // A database that does not answer is asked again next time.
            if let Some(now) = moment
                && let Ok(now) = self.api.db.not_later(now).await
            {
                self.purge_by(now).await;
            }
        }
    }

    /// Small batches, between which other units of work have their turn. All of them go by the one
    /// moment that was found to be right.
    async fn purge_by(&self, now: Timestamp) {
        let Api { revocations, sessions, accounts, audit, .. } = &self.api;
        while let Ok(true) = revocations.purge(now).await {
            tokio::time::sleep(PURGE_PAUSE).await;
        }
        while let Ok(true) = sessions.purge(now).await {
            tokio::time::sleep(PURGE_PAUSE).await;
        }
        while let Ok(true) = accounts.purge().await {
            tokio::time::sleep(PURGE_PAUSE).await;
        }
        while let Ok(true) = audit.purge(now).await {
            tokio::time::sleep(PURGE_PAUSE).await;
        }
    }
}

/// The allocator gives memory back a second after it was freed, when any large block is freed next:
/// an idle service frees none. This one is never touched, so it takes no memory.
async fn return_freed_memory() {
    let mut tick = tokio::time::interval(MEMORY_RETURN_INTERVAL);
    loop {
        tick.tick().await;
        drop(black_box(Vec::<u8>::with_capacity(HUGE_ALLOCATION)));
    }
}
