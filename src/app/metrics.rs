//! What is watched: every metric, by name, and where its number comes from.
//!
//! The README has a table of them; a test compares the two.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::{HttpResponse, web};

use super::DroppedLogLines;
use crate::accounts::throttle::LoginThrottle;
use crate::clock::Timestamp;
use crate::database::StoreError;
use crate::http::server::tls::Tls;
use crate::http::{Api, Limits};
use crate::keys::{KeyState, KeysError};
use crate::metrics::{self, MetricsPage, Requests, Writer};

/// How often rows are counted: that is work for the database, and not for each look at the page.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);

/// Numbers that take a look into the database.
#[derive(Default)]
pub(super) struct RowCounts {
    users: AtomicU64,
    sessions: AtomicU64,
    blocklist: AtomicU64,
    /// When the oldest key in each state was made.
    keys: Mutex<Vec<(&'static str, Timestamp)>>,
    /// Whether they were counted at all.
    known: AtomicBool,
}

impl RowCounts {
    /// Counts again and again, until it is dropped.
    pub(super) async fn count_repeatedly(&self, api: &Api) {
        let mut tick = tokio::time::interval(COUNT_INTERVAL);
        loop {
            tick.tick().await;
            match self.count(api).await {
                Ok(()) => self.known.store(true, Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, "the metrics' rows could not be counted"),
            }
        }
    }

    async fn count(&self, api: &Api) -> Result<(), KeysError> {
        let store = |number: &AtomicU64, count: Result<u64, StoreError>| {
            count.map(|count| number.store(count, Ordering::Relaxed))
        };
        store(&self.users, api.accounts.count().await)?;
        store(&self.sessions, api.sessions.count().await)?;
        store(&self.blocklist, api.revocations.stored().await)?;
        let keys = api.keys.admin().list().await?;
        let oldest = |state: KeyState| {
            let of_it = keys.iter().filter(|key| key.state == state.as_str());
            Some((state.as_str(), of_it.map(|key| key.created_at).min()?))
        };
        let oldest =
            [KeyState::Next, KeyState::Active, KeyState::Retired].into_iter().filter_map(oldest);
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = oldest.collect();
        Ok(())
    }
}

/// The parts whose numbers are shown.
pub(super) struct MetricsSources {
    pub api: Api,
    pub limits: Limits,
    pub throttle: Arc<LoginThrottle>,
    pub requests: Requests,
    pub row_counts: Arc<RowCounts>,
    pub tls: Option<Tls>,
    pub secret_file_missing: Arc<AtomicBool>,
    /// Of the log that is the service's own.
    pub dropped_lines: Option<DroppedLogLines>,
}

/// The route of the listener for metrics.
pub(super) fn routes(
    sources: MetricsSources,
) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
    let page = web::Data::new(MetricsPage::new("doorward", move |out| sources.write(out)));
    move |config| {
        config.app_data(page.clone()).route("/metrics", web::get().to(show));
    }
}

async fn show(page: web::Data<MetricsPage>) -> HttpResponse {
    HttpResponse::Ok().content_type(metrics::MEDIA_TYPE).body(page.render())
}

impl MetricsSources {
    fn write(&self, out: &mut Writer<'_>) {
        let Api { accounts, sessions, .. } = &self.api;
        out.requests("http", &self.requests);
        out.counts("logins", "Logins", ("outcome", &mut accounts.logins().counts()));
        out.counts("refreshes", "Refreshes", ("outcome", &mut sessions.refreshes().counts()));
        let help = "Access tokens whose signatures need not be checked again";
        out.gauge("token_cache_entries", help, whole(sessions.token_cache_entries()));
        self.hashing(out);
        self.store(out);
        self.revocations(out);
        self.rows(out);
        self.limits(out);
        let dropped_lines = self.dropped_lines.as_ref().map_or(0, |dropped_lines| dropped_lines());
        out.count("log_lines_dropped", "Lines that the log had no room for", whole(dropped_lines));
        if let Some(tls) = &self.tls {
            let help = "When the certificate in use expires, since 1970";
            out.seconds("tls_certificate_expiry_timestamp", help, since_1970(tls.not_after()));
        }
    }

    fn hashing(&self, out: &mut Writer<'_>) {
        let hasher = self.api.accounts.hasher();
        out.count("password_hashes", "Password hashes that were begun", hasher.hashed());
        let help = "Blocks of memory, 1 KiB each, that password hashes have filled";
        out.count("password_hash_blocks", help, hasher.filled());
        out.gauge("hash_queue_length", "Hashes that wait for a thread", whole(hasher.waiting()));
        out.durations("hash_queue_wait", "How long hashes waited for a thread", hasher.waited());
        let help = "Hashes that were refused";
        out.counts("hash_rejections", help, ("reason", &mut hasher.refused().counts()));
    }

    fn store(&self, out: &mut Writer<'_>) {
        let help = "Whether writes are refused (1), while reading may go on";
        out.gauge("database_refuses_writes", help, self.api.db.refuses_writes().into());
        let help = "Whether the file with the master secret is missing or changed (1)";
        let is_missing = self.secret_file_missing.load(Ordering::Relaxed);
        out.gauge("secret_file_missing", help, is_missing.into());
        let load = self.api.db.load();
        let used = load.connections.saturating_sub(load.idle);
        let mut states = [("idle", load.idle.into()), ("used", used.into())].into_iter();
        let help = "Connections in the pool (SQLite: for reading)";
        out.gauges("database_pool_connections", help, ("state", &mut states));
        let help = "Statements that these connections have run";
        out.count("database_statements", help, load.statements);
        if let Some((waiting, groups)) = &load.writer {
            let help = "Units of work that wait for SQLite's writer";
            out.gauge("sqlite_write_queue_length", help, whole(*waiting));
            out.sizes("sqlite_commit_batch_size", "Units of work in one commit", groups);
        }
    }

    fn revocations(&self, out: &mut Writer<'_>) {
        let revocations = &self.api.revocations;
        let help = "Revocations in this node's memory";
        out.gauge("revocation_cache_entries", help, whole(revocations.entry_count()));
        let help = "How long ago this node last knew every revocation";
        out.seconds("revocations_staleness", help, revocations.staleness().as_secs_f64());
        let help = "How far this node's clock is from the database's";
        out.seconds("clock_skew", help, revocations.clock_skew().as_secs_f64());
        let help = "Connections that follow the feed of revocations";
        out.gauge("revocation_feed_subscribers", help, whole(revocations.subscribers()));
    }

    /// What was counted in the database. Before the first time nothing is said.
    fn rows(&self, out: &mut Writer<'_>) {
        let row_counts = &self.row_counts;
        if !row_counts.known.load(Ordering::Relaxed) {
            return;
        }
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        out.gauge("users", "Accounts", number(&row_counts.users));
        out.gauge("sessions", "Live sessions", number(&row_counts.sessions));
        out.gauge("blocklist_rows", "Rows of the blocklist", number(&row_counts.blocklist));
        let keys = row_counts.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut keys = keys.into_iter().map(|(state, made)| (state, since_1970(made)));
        let help = "When the oldest signing key in each state was made, since 1970";
        out.labelled_seconds("signing_key_created_timestamp", help, ("state", &mut keys));
    }

    fn limits(&self, out: &mut Writer<'_>) {
        let in_use = [
            ("register", self.limits.register.in_use()),
            ("password", self.limits.password.in_use()),
            ("refresh", self.api.refresh_limit.in_use()),
            ("client", self.api.client_failures.in_use()),
            ("failed_logins", self.throttle.in_use()),
        ];
        let mut in_use = in_use.into_iter().map(|(limit, count)| (limit, whole(count)));
        let help = "Clients that a limiter remembers";
        out.gauges("limiter_entries", help, ("limit", &mut in_use));
        let refusals = [
            ("register", self.limits.register.refusals()),
            ("password", self.limits.password.refusals()),
            ("refresh", self.api.refresh_limit.refusals()),
            ("client", self.api.client_failures.refusals()),
        ];
        let mut refusals = refusals.into_iter().map(|(limit, refused)| (limit, refused.total()));
        let help = "Failures that the audit trail has no room for";
        out.count("audit_events_dropped", help, self.api.audit.dropped());
        let help = "Requests that a limiter refused";
        out.counts("limiter_refusals", help, ("limit", &mut refusals));
    }
}

fn whole(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "whole seconds until long after the year 9999")]
fn since_1970(time: Timestamp) -> f64 {
    time.unix_seconds() as f64
}
