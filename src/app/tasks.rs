//! Background tasks.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::clock_jumps::{JumpDetector, MAX_CLOCK_JUMP};
use super::metrics::RowCounts;
use crate::accounts::admin::OversizedTokens;
use crate::accounts::email_keys;
use crate::accounts::throttle::LoginThrottle;
use crate::clock::{Clock, Timestamp};
use crate::config::SecretFile;
use crate::database::{ChangeSource, StoreError};
use crate::http::middleware::cors::ClientOrigins;
use crate::http::server::tls::Tls;
use crate::http::{Api, Limits};
use crate::mail::sender::MailSender;
use crate::revocations::sync::SyncMode;
use crate::tokens;

/// How often the certificate files are checked.
const CERTIFICATE_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often the file with the master secret is checked.
const SECRET_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often expired rows are purged, limiters swept and signing keys maintained.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(60);

/// How often the costs of stored password hashes are counted.
const STORED_COSTS_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// How often aggregated events, such as failed logins, are stored.
const AGGREGATE_WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// The delay before an urgent task is retried.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often freed memory is returned to the system.
const MEMORY_RETURN_INTERVAL: Duration = Duration::from_secs(10);

/// The size of a block, in bytes, that the allocator does not serve from its pages of small blocks.
const HUGE_ALLOCATION: usize = 4 * 1024 * 1024;

/// The pause between two batches of a purge or a rewrite, for other units of work.
const PURGE_PAUSE: Duration = Duration::from_millis(20);

/// The background tasks.
#[derive(Clone)]
pub(super) struct Tasks {
    pub api: Api,
    pub throttle: Arc<LoginThrottle>,
    pub limits: Limits,
    pub origins: ClientOrigins,
    pub clock: Clock,
    /// The lifetime of an access token plus the leeway of verifiers.
    pub max_token_age: Duration,
    pub sync_mode: SyncMode,
    pub tls: Option<Tls>,
    pub row_counts: Option<Arc<RowCounts>>,
    pub secret_file: Option<SecretFile>,
    /// Set while that file is missing or holds another secret.
    pub secret_file_missing: Arc<AtomicBool>,
    pub mail_sender: Option<Arc<MailSender>>,
}

impl Tasks {
    /// Runs until it is dropped.
    pub(super) async fn run(&self, watch: ChangeSource) {
        let is_sqlite = matches!(watch, ChangeSource::File(_));
        tokio::join!(
            self.sync_revocations(watch),
            self.api.revocations.publish(),
            self.origins.reload_repeatedly(),
            self.maintain(),
            self.replace_revoked_key(),
            self.reload_certificate(),
            self.count_rows(),
            self.watch_secret_file(),
            self.write_aggregates(),
            self.probe_writes(),
            self.purge(),
            self.count_stored_costs(),
            self.reseal_factors(),
            self.send_mail(),
            self.rewrite_email_keys(is_sqlite),
            self.warn_of_oversized_tokens(),
            return_freed_memory()
        );
    }

    /// Checks once whether roles and custom claims still fit into access tokens: the settings may
    /// have changed since they were set.
    async fn warn_of_oversized_tokens(&self) {
        match self.api.account_admin.oversized_tokens().await {
            Ok(OversizedTokens { accounts, first: Some(first) }) => tracing::warn!(
                accounts,
                %first,
                "access tokens are longer than tokens.max_bytes; raise it, or remove roles or claims"
            ),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the lengths of tokens could not be checked"),
        }
        match self.api.clients.oversized_tokens().await {
            Ok(clients) => clients.iter().for_each(|client| {
                tracing::warn!(
                    %client,
                    "the client's tokens are longer than tokens.max_bytes; raise it, or remove scopes"
                );
            }),
            Err(error) => tracing::warn!(%error, "the lengths of tokens could not be checked"),
        }
    }

    /// Syncs the revocations of other processes.
    async fn sync_revocations(&self, watch: ChangeSource) {
        match watch {
            ChangeSource::File(watch) => self.api.revocations.sync_with_file(watch).await,
            ChangeSource::Server(link) => {
                self.api.revocations.sync_with_server(*link, self.sync_mode).await;
            }
        }
    }

    /// Maintains the signing keys and frees memory. A failure is retried the next time.
    async fn maintain(&self) {
        let mut tick = tokio::time::interval(MAINTENANCE_INTERVAL);
        loop {
            tick.tick().await;
            // A clock that is ahead would rotate keys before verifiers know the new ones. A fault
            // of the database's files was logged, and ends with the process only.
            if self.api.revocations.is_clock_trusted()
                && self.api.db.fault().is_none()
                && let Err(error) = self.api.keys.maintain().await
            {
                tracing::error!(%error, "signing key maintenance failed");
            }
            self.throttle.sweep();
            self.limits.register.limiter().sweep();
            self.limits.password.limiter().sweep();
            self.api.refresh_limit.sweep();
            self.api.client_failures.sweep();
        }
    }

    /// Switches to another signing key as soon as the active one is revoked, on any node.
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
                    tracing::error!(%error, "the revoked signing key is still in use");
                }
                if is_revoked() {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// Serves a renewed certificate as soon as it is in place.
    async fn reload_certificate(&self) {
        let mut tick = tokio::time::interval(CERTIFICATE_POLL_INTERVAL);
        while let Some(tls) = self.tls.clone() {
            tick.tick().await;
            let now = self.clock.now();
            let _ = tokio::task::spawn_blocking(move || tls.reload_if_changed(now)).await;
        }
    }

    /// Notices when the file with the master secret is deleted or changed. The service has the
    /// secret in memory and continues, but no start would succeed.
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

    /// Stores the aggregated events. If that fails, the next round retries.
    async fn write_aggregates(&self) {
        let mut tick = tokio::time::interval(AGGREGATE_WRITE_INTERVAL);
        loop {
            tick.tick().await;
            let _ = self.api.audit.write_aggregates().await;
        }
    }

    /// Notices when a database that rejected writes accepts them again.
    async fn probe_writes(&self) {
        let mut tick = tokio::time::interval(RETRY_INTERVAL);
        loop {
            tick.tick().await;
            self.api.db.probe_writes().await;
        }
    }

    /// Counts rows for the metrics.
    async fn count_rows(&self) {
        if let Some(row_counts) = &self.row_counts {
            row_counts.count_repeatedly(&self.api).await;
        }
    }

    /// Counts the stored password hashes by cost, at the start and once a day: they change when
    /// owners log in after the configured cost was lowered.
    async fn count_stored_costs(&self) {
        loop {
            let counted = self.api.accounts.count_stored_costs().await;
            let pause = if counted.is_ok() { STORED_COSTS_INTERVAL } else { MAINTENANCE_INTERVAL };
            tokio::time::sleep(pause).await;
        }
    }

    /// Encrypts TOTP secrets under the current master secret, if there is a previous one.
    async fn reseal_factors(&self) {
        while let Err(error) = self.api.accounts.reseal_factors(PURGE_PAUSE).await {
            tracing::warn!(%error, "TOTP secrets could not be encrypted under the current secret");
            tokio::time::sleep(MAINTENANCE_INTERVAL).await;
        }
    }

    /// Rewrites former keys of e-mail addresses once, with SQLite. With PostgreSQL older nodes may
    /// still run, so an operator does it (`doorward db migrate --email-keys`).
    async fn rewrite_email_keys(&self, is_sqlite: bool) {
        while is_sqlite && email_keys::rewrite(&self.api.db, PURGE_PAUSE).await.is_err() {
            tokio::time::sleep(MAINTENANCE_INTERVAL).await;
        }
    }

    /// Sends the messages that wait.
    async fn send_mail(&self) {
        if let Some(sender) = &self.mail_sender {
            sender.run(|| self.api.revocations.is_clock_trusted()).await;
        }
    }

    /// Deletes expired data.
    ///
    /// A clock that is temporarily wrong must not make it delete live revocations. So nothing is
    /// deleted until the clock has run steadily for the lifetime of an access token: then no older
    /// token is valid, even if the clock was wrong before. Nothing is deleted either while the
    /// clock differs too much from the database's.
    async fn purge(&self) {
        let mut tick = tokio::time::interval(MAINTENANCE_INTERVAL);
        let mut clock = JumpDetector::new(self.clock.clone());
        loop {
            tick.tick().await;
            let agrees = self.api.revocations.clock_skew() < MAX_CLOCK_JUMP;
            let moment = clock.now_if_steady(self.max_token_age).filter(|_| agrees);
            // A database that does not answer is tried again at the next interval.
            if let Some(now) = moment
                && let Ok(now) = self.api.db.not_later(now).await
            {
                self.purge_by(now).await;
            }
        }
    }

    /// Small batches. All of them use the same checked time.
    async fn purge_by(&self, now: Timestamp) {
        let Api { revocations, sessions, accounts, account_admin, audit, .. } = &self.api;
        in_batches(|| revocations.purge(now)).await;
        in_batches(|| sessions.purge(now)).await;
        in_batches(|| account_admin.close_expired_invitations(now)).await;
        in_batches(|| accounts.purge()).await;
        in_batches(|| audit.purge(now)).await;
        in_batches(|| accounts.mail().purge(now)).await;
    }
}

/// Purges until nothing is left or a batch fails, with pauses for other units of work.
async fn in_batches(purge: impl AsyncFn() -> Result<bool, StoreError>) {
    while let Ok(true) = purge().await {
        tokio::time::sleep(PURGE_PAUSE).await;
    }
}

/// The allocator returns memory a second after it was freed, and only when a large block is freed:
/// an idle service frees none. This block is never written, so it takes no memory.
async fn return_freed_memory() {
    let mut tick = tokio::time::interval(MEMORY_RETURN_INTERVAL);
    loop {
        tick.tick().await;
        drop(black_box(Vec::<u8>::with_capacity(HUGE_ALLOCATION)));
    }
}
