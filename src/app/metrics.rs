//! The metrics endpoint: every metric and its source.
//!
//! `docs/metrics.md` documents them in a table; a test compares the two.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::{HttpResponse, web};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, prometheus_text,
};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};

use super::DroppedLogLines;
use crate::accounts::throttle::LoginThrottle;
use crate::clock::{Clock, Timestamp};
use crate::http::server::tls::Tls;
use crate::http::{Api, Limits};
use crate::keys::{KeyState, KeysError};
use crate::locks;
use crate::mail::Backlog;
use crate::metrics::Requests;

/// How often rows are counted: that costs the database work, so not at each scrape.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);

/// Prometheus' text format.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The counts of rows, once they are known.
#[derive(Default)]
pub(super) struct RowCounts(Mutex<Option<Rows>>);

#[derive(Clone)]
struct Rows {
    users: u64,
    users_with_second_factor: u64,
    sessions: u64,
    blocklist: u64,
    /// The messages that wait.
    mail: Backlog,
    /// When the oldest key in each state was created.
    keys: Vec<(&'static str, Timestamp)>,
}

impl RowCounts {
    /// Counts periodically, until it is dropped.
    pub(super) async fn count_repeatedly(&self, api: &Api) {
        let mut tick = tokio::time::interval(COUNT_INTERVAL);
        loop {
            tick.tick().await;
            match Rows::count(api).await {
                Ok(rows) => *locks::lock(&self.0) = Some(rows),
                Err(error) => tracing::warn!(%error, "rows could not be counted for the metrics"),
            }
        }
    }
}

impl Rows {
    async fn count(api: &Api) -> Result<Self, KeysError> {
        let keys = api.keys.admin().list().await?;
        let oldest = |state: &KeyState| {
            let of_it = keys.iter().filter(|key| key.state == state.as_str());
            Some((state.as_str(), of_it.map(|key| key.created_at).min()?))
        };
        Ok(Self {
            users: api.accounts.count().await?,
            users_with_second_factor: api.accounts.count_with_factor().await?,
            sessions: api.sessions.count().await?,
            blocklist: api.revocations.stored().await?,
            mail: api.accounts.mail().backlog().await?,
            keys: KeyState::ALL.iter().filter_map(oldest).collect(),
        })
    }
}

/// The components whose numbers are shown.
pub(super) struct MetricsSources {
    pub api: Api,
    pub limits: Limits,
    pub throttle: Arc<LoginThrottle>,
    pub requests: Requests,
    pub row_counts: Arc<RowCounts>,
    pub tls: Option<Tls>,
    pub secret_file_missing: Arc<AtomicBool>,
    pub clock: Clock,
    /// Of the service's own log.
    pub dropped_lines: Option<DroppedLogLines>,
}

/// The route of the metrics listener.
pub(super) fn routes(
    sources: MetricsSources,
) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
    let mut registry = Registry::with_prefix("doorward");
    registry.register_collector(Box::new(sources));
    let registry = web::Data::new(registry);
    move |config| {
        config.app_data(registry.clone()).route("/metrics", web::get().to(show));
    }
}

async fn show(registry: web::Data<Registry>) -> HttpResponse {
    let mut page = String::with_capacity(16 * 1024);
    // Writing to a String cannot fail.
    let _ = prometheus_text::encode(&mut page, &registry);
    HttpResponse::Ok().content_type(MEDIA_TYPE).body(page)
}

/// The page that is being written.
type Page<'a> = DescriptorEncoder<'a>;

/// Writes a metric.
fn put(page: &mut Page<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(page.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// Writes a metric of seconds: `_seconds` is added to its name.
fn seconds(page: &mut Page<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    let (unit, kind) = (Some(&Unit::Seconds), metric.metric_type());
    metric.encode(page.encode_descriptor(name, help, unit, kind)?)
}

/// A metric family that is computed when the page is written: a label, and one metric for each of
/// its values.
struct ByLabel<M>(&'static str, Vec<(&'static str, M)>);

impl<M: EncodeMetric + TypedMetric> EncodeMetric for ByLabel<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Self(label, metrics) = self;
        metrics.iter().try_for_each(|(value, metric)| {
            metric.encode(encoder.encode_family(&[(*label, *value)])?)
        })
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

impl fmt::Debug for MetricsSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsSources")
    }
}

impl Collector for MetricsSources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut encoder;
        let Api { accounts, sessions, .. } = &self.api;
        let help = "Requests by route pattern, method and status class";
        put(page, "http_requests", help, &self.requests.answered)?;
        let help = "Duration of requests by route pattern";
        seconds(page, "http_request_duration", help, &self.requests.took)?;
        put(page, "logins", "Logins", accounts.logins())?;
        put(page, "refreshes", "Refreshes", sessions.refreshes())?;
        let help = "Access tokens in the cache of verified signatures";
        put(page, "token_cache_entries", help, &gauge(sessions.token_cache_entries()))?;
        let help = "Access tokens issued that are longer than tokens.max_bytes";
        put(page, "oversized_access_tokens", help, &counter(sessions.oversized_tokens()))?;
        self.hashing(page)?;
        self.store(page)?;
        self.revocations(page)?;
        self.rows(page)?;
        self.mail(page)?;
        self.limits(page)?;
        let dropped_lines = self.dropped_lines.as_ref().map_or(0, |dropped_lines| dropped_lines());
        let help = "Log lines dropped because the buffer was full";
        put(page, "log_lines_dropped", help, &counter(dropped_lines as u64))?;
        if let Some(tls) = &self.tls {
            let help = "When the certificate in use expires, since 1970";
            let expires = ConstGauge::new(since_1970(tls.not_after()));
            seconds(page, "tls_certificate_expiry_timestamp", help, &expires)?;
        }
        Ok(())
    }
}

impl MetricsSources {
    fn hashing(&self, page: &mut Page<'_>) -> fmt::Result {
        let hasher = self.api.accounts.hasher();
        let help = "Password hashes started";
        put(page, "password_hashes", help, &counter(hasher.hashed()))?;
        let help = "Blocks of memory, 1 KiB each, that password hashes have filled";
        put(page, "password_hash_blocks", help, &counter(hasher.filled()))?;
        put(page, "hash_queue_length", "Hashes waiting for a thread", &gauge(hasher.waiting()))?;
        let help = "How long hashes waited for a thread";
        seconds(page, "hash_queue_wait", help, hasher.waited())?;
        put(page, "hash_rejections", "Hashes rejected", hasher.refused())
    }

    fn store(&self, page: &mut Page<'_>) -> fmt::Result {
        let help = "Whether writes are rejected (1) while reads may succeed";
        let refuses_writes = gauge(usize::from(self.api.db.refuses_writes()));
        put(page, "database_refuses_writes", help, &refuses_writes)?;
        let help = "Whether the file with the master secret is missing or changed (1)";
        let is_missing = self.secret_file_missing.load(Ordering::Relaxed);
        put(page, "secret_file_missing", help, &gauge(usize::from(is_missing)))?;
        let load = self.api.db.load();
        let used = load.connections.saturating_sub(load.idle);
        let states = vec![
            ("idle", ConstGauge::new(u64::from(load.idle))),
            ("used", ConstGauge::new(used.into())),
        ];
        let help = "Connections in the pool (SQLite: for reads)";
        put(page, "database_pool_connections", help, &ByLabel("state", states))?;
        let help = "Statements run by these connections";
        put(page, "database_statements", help, &counter(load.statements))?;
        if let Some((waiting, groups)) = &load.writer {
            let help = "Units of work waiting for SQLite's writer";
            put(page, "sqlite_write_queue_length", help, &gauge(*waiting))?;
            put(page, "sqlite_commit_batch_size", "Units of work in one commit", groups)?;
        }
        Ok(())
    }

    fn revocations(&self, page: &mut Page<'_>) -> fmt::Result {
        let revocations = &self.api.revocations;
        let help = "Revocations in this node's memory";
        put(page, "revocation_cache_entries", help, &gauge(revocations.entry_count()))?;
        let help = "Time since this node last had all revocations";
        let staleness = ConstGauge::new(revocations.staleness().as_secs_f64());
        seconds(page, "revocations_staleness", help, &staleness)?;
        let help = "Difference between this node's clock and the database's";
        let difference = ConstGauge::new(revocations.clock_skew().as_secs_f64());
        seconds(page, "clock_skew", help, &difference)?;
        let help = "Connections of subscribers to the revocation feed";
        put(page, "revocation_feed_subscribers", help, &gauge(revocations.subscribers()))
    }

    /// The numbers counted in the database. Omitted before the first count.
    fn rows(&self, page: &mut Page<'_>) -> fmt::Result {
        let rows = locks::lock(&self.row_counts.0).clone();
        let Some(rows) = rows else { return Ok(()) };
        let Rows { users, users_with_second_factor, sessions, blocklist, mail, keys } = rows;
        put(page, "users", "Accounts", &ConstGauge::new(users))?;
        let help = "Accounts with a second factor";
        put(page, "users_with_second_factor", help, &ConstGauge::new(users_with_second_factor))?;
        put(page, "sessions", "Live sessions", &ConstGauge::new(sessions))?;
        put(page, "blocklist_rows", "Rows of the blocklist", &ConstGauge::new(blocklist))?;
        put(page, "mail_queue_length", "Messages that wait", &ConstGauge::new(mail.waiting))?;
        let wait = mail.oldest.map(|oldest| self.clock.now().since(oldest).as_secs_f64());
        let help = "How long ago the oldest waiting message was requested";
        seconds(page, "mail_oldest_wait", help, &ConstGauge::new(wait.unwrap_or_default()))?;
        let made = keys.into_iter().map(|(state, made)| (state, ConstGauge::new(since_1970(made))));
        let help = "When the oldest signing key in each state was created, since 1970";
        seconds(page, "signing_key_created_timestamp", help, &ByLabel("state", made.collect()))
    }

    fn mail(&self, page: &mut Page<'_>) -> fmt::Result {
        let counters = self.api.accounts.mail().counters();
        put(page, "mail_sent", "Messages that the mail server accepted", &counters.sent)?;
        put(page, "mail_failed", "Messages that were abandoned", &counters.failed)?;
        let help = "Failed attempts after which a message waits for another one";
        put(page, "mail_retried", help, &counters.retried)?;
        let help = "Messages that were not sent because a limit was reached";
        put(page, "mail_over_limit", help, &counters.over_limit)
    }

    fn limits(&self, page: &mut Page<'_>) -> fmt::Result {
        let api = &self.api;
        let limiters = [
            ("register", self.limits.register.limiter()),
            ("password", self.limits.password.limiter()),
            ("refresh", &api.refresh_limit),
            ("client", api.client_failures.limiter()),
        ];
        let in_use = limiters.map(|(limit, limiter)| (limit, gauge(limiter.in_use())));
        let mut in_use = Vec::from(in_use);
        in_use.push(("failed_logins", gauge(self.throttle.in_use())));
        put(page, "limiter_entries", "Clients tracked by a limiter", &ByLabel("limit", in_use))?;
        let refusals = limiters.map(|(limit, limiter)| (limit, limiter.refusals().clone()));
        let help = "Events dropped because too many accounts had events of one kind in one minute";
        put(page, "audit_events_dropped", help, &counter(api.audit.dropped()))?;
        put(
            page,
            "limiter_refusals",
            "Requests rejected by a limiter",
            &ByLabel("limit", refusals.into()),
        )
    }
}

fn gauge(value: usize) -> ConstGauge<u64> {
    ConstGauge::new(value as u64)
}

fn counter(value: u64) -> ConstCounter<u64> {
    ConstCounter::new(value)
}

#[expect(clippy::cast_precision_loss, reason = "whole seconds until long after the year 9999")]
fn since_1970(time: Timestamp) -> f64 {
    time.unix_seconds() as f64
}
