//! The metrics page: names, units, labels, and that each outcome is counted under its label.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use doorward::config::Config;
use serde_json::json;

use crate::support::client::PASSWORD;
use crate::support::feed::looked_again;
use crate::support::program::free_port;
use crate::support::{TestApp, docs, until};

/// A service with its metrics page.
struct Watched {
    app: TestApp,
    page: SocketAddr,
}

impl Watched {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let page = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let app = TestApp::with(|config| {
            (config.metrics.enabled, config.metrics.listen) = (true, page);
            change(config);
        });
        Self { app: app.await, page }
    }

    async fn text(&self) -> String {
        let answer =
            self.app.http.get(format!("http://{}/metrics", self.page)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let media_type = answer.headers()["content-type"].to_str().unwrap();
        assert_eq!(media_type, "text/plain; version=0.0.4; charset=utf-8");
        answer.text().await.unwrap()
    }

    /// The value of one series; zero if it is missing.
    async fn value(&self, series: &str) -> f64 {
        let text = self.text().await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    async fn assert_value(&self, series: &str, value: f64) {
        let found = self.value(series).await;
        assert!((found - value).abs() < f64::EPSILON, "{series}: {found}\n{}", self.text().await);
    }
}

/// Each metric's name and type.
fn types(page: &str) -> BTreeMap<&str, &str> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.collect()
}

#[tokio::test]
async fn names_and_units_follow_prometheus_conventions() {
    let watched = Watched::start().await;
    let user = watched.app.signed_up().await;
    user.me().await.assert_status(200);
    until(async || watched.text().await.contains("\ndoorward_users ")).await;
    let page = watched.text().await;
    let types = types(&page);
    assert!(types.len() > 15, "{page}");
    for (name, kind) in &types {
        assert!(name.starts_with("doorward_"), "{name}");
        let is_snake = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(is_snake, "{name}");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let is_time = ["duration", "wait", "staleness", "skew", "timestamp"];
        let is_time = is_time.iter().any(|word| name.contains(word));
        assert_eq!(is_time, name.ends_with("_seconds"), "{name}: the unit is the second");
        assert!(!name.contains("milli") && !name.ends_with("_count"), "{name}");
        let help = page
            .lines()
            .find_map(|line| line.strip_prefix("# HELP ")?.strip_prefix(name)?.strip_prefix(' '));
        assert!(help.is_some_and(|help| help.len() > 4), "{name} has no help");
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
        let name = series.split('{').next().unwrap();
        let of = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = types.contains_key(name) || of.is_some_and(|name| types.contains_key(name));
        assert!(known, "{line}: it has no type");
    }
}

#[tokio::test]
async fn labels_contain_no_client_input() {
    let watched = Watched::start().await;
    let app = &watched.app;
    let user = app.signed_up().await;
    for n in 0..20 {
        app.get(&format!("/nowhere/{n}")).send().await.assert_status(404);
        let path = format!("/sessions/{}", uuid::Uuid::new_v4());
        app.call("DELETE", &path).bearer(&user.tokens.access).send().await.assert_status(404);
        let method = format!("METHOD{n}");
        app.call(&method, "/nowhere").send().await;
    }
    let page = watched.text().await;
    let requests: Vec<&str> =
        page.lines().filter(|line| line.starts_with("doorward_http_requests_total{")).collect();
    // register, login, and the three above.
    assert_eq!(requests.len(), 5, "{requests:#?}");
    let series =
        r#"doorward_http_requests_total{route="/sessions/{id}",method="DELETE",status="4xx"}"#;
    watched.assert_value(series, 20.0).await;
    let series = r#"doorward_http_requests_total{route="other",method="other",status="4xx"}"#;
    watched.assert_value(series, 20.0).await;
    let took = r#"doorward_http_request_duration_seconds_count{route="/sessions/{id}"}"#;
    watched.assert_value(took, 20.0).await;
    assert!(!page.contains(&user.id) && !page.contains(&user.email), "{page}");
}

#[tokio::test]
async fn every_outcome_of_a_refresh_is_counted() {
    const KEY: &str = "a-key-that-proves-it";
    let watched = Watched::start().await;
    let app = &watched.app;
    let user = app.signed_up().await;
    let session = || user.another_session();
    let counted = async |outcome: &str, times: f64| {
        let series = format!("doorward_refreshes_total{{outcome=\"{outcome}\"}}");
        watched.assert_value(&series, times).await;
    };

    let first = session().await;
    let second = app.refresh(&first.refresh).await.tokens();
    counted("rotated", 1.0).await;
    app.refresh(&first.refresh).await.assert_status(200);
    app.refresh(&second.refresh).await.assert_status(200);
    counted("concurrent_replay", 2.0).await;

    app.advance(60);
    app.refresh_with_key(&second.refresh, KEY).await.assert_status(200);
    app.advance(60);
    app.refresh_with_key(&second.refresh, KEY).await.assert_status(200);
    counted("proven_retry", 1.0).await;

    let first = session().await;
    app.refresh(&first.refresh).await.assert_status(200);
    app.advance(60);
    let second = app.refresh(&first.refresh).await.tokens();
    counted("forgiven", 1.0).await;
    app.advance(60);
    app.refresh(&second.refresh).await.assert_status(200);
    app.advance(60);
    app.refresh(&first.refresh).await.assert_ended("refresh_token_reused");
    counted("reuse_ended", 1.0).await;
    app.refresh(&first.refresh).await.assert_ended("refresh_token_reused");
    counted("ended", 1.0).await;

    app.refresh("dwr_nothing").await.assert_ended("unknown_token");
    app.post("/token")
        .form(&[("grant_type", "refresh_token"), ("refresh_token", "dwr_nothing")])
        .send()
        .await;
    counted("unknown", 2.0).await;
    let (first, other) = (session().await, app.public_client().await);
    app.refresh_as(&other, &first.refresh).await.assert_ended("wrong_client");
    counted("wrong_client", 1.0).await;
    app.advance(31 * 24 * 60 * 60);
    app.refresh(&first.refresh).await.assert_ended("expired");
    counted("expired", 1.0).await;
    counted("rotated", 4.0).await;
    counted("failed", 0.0).await;
}

#[tokio::test]
async fn every_outcome_of_a_login_is_counted() {
    let watched = Watched::with(|config| config.limits.failed_logins_per_address = 2).await;
    let app = &watched.app;
    let user = app.signed_up().await;
    let counted = async |outcome: &str, times: f64| {
        let series = format!("doorward_logins_total{{outcome=\"{outcome}\"}}");
        watched.assert_value(&series, times).await;
    };
    counted("succeeded", 1.0).await;
    let body = json!({ "email": user.email, "password": PASSWORD, "client_id": "nobody" });
    app.post("/login").json(&body).send().await.assert_problem(400, "unknown_client");
    counted("unknown_client", 1.0).await;
    for _ in 0..2 {
        app.log_in(&user.email, "wrong").await.assert_status(401);
    }
    counted("invalid_credentials", 2.0).await;
    app.log_in(&user.email, PASSWORD).await.assert_status(429);
    counted("throttled", 1.0).await;
    assert!(watched.value("doorward_password_hashes_total").await > 3.5);
    assert!(watched.value("doorward_hash_queue_wait_seconds_count").await > 3.5);
    watched.assert_value("doorward_hash_queue_length", 0.0).await;
    watched.assert_value(r#"doorward_hash_rejections_total{reason="queue_full"}"#, 0.0).await;
}

#[tokio::test]
async fn every_metric_is_shown() {
    let watched = Watched::with(|config| config.limits.register_burst = 2).await;
    let app = &watched.app;
    let user = app.signed_up().await;
    app.register("b@example.com", PASSWORD).await.assert_status(201);
    app.register("c@example.com", PASSWORD).await.assert_status(429);
    watched.assert_value(r#"doorward_limiter_refusals_total{limit="register"}"#, 1.0).await;
    assert!(watched.value("doorward_sqlite_commit_batch_size_count").await > 1.5);
    looked_again(app).await;
    watched.assert_value("doorward_sqlite_write_queue_length", 0.0).await;
    let pool = watched.value(r#"doorward_database_pool_connections{state="idle"}"#).await;
    assert!(pool > 0.5, "{pool}");
    watched.assert_value("doorward_revocation_cache_entries", 0.0).await;
    user.log_out().await.assert_status(204);
    watched.assert_value("doorward_revocation_cache_entries", 1.0).await;
    assert!(watched.value("doorward_revocations_staleness_seconds").await < 5.0);
    let made = r#"doorward_signing_key_created_timestamp_seconds{state="active"}"#;
    until(async || watched.value(made).await > 1.0).await;

    watched.assert_value("doorward_revocation_feed_subscribers", 0.0).await;
    let service = app.service(&[]).await;
    let follow = app.http.get(app.url("/revocations")).header("accept", "text/event-stream");
    let feed = follow.basic_auth(&service.id, Some(&service.secret)).send().await.unwrap();
    watched.assert_value("doorward_revocation_feed_subscribers", 1.0).await;
    drop(feed);
    until(async || watched.value("doorward_revocation_feed_subscribers").await < 0.5).await;
}

#[tokio::test]
async fn metrics_have_a_separate_address_and_are_off_by_default() {
    let watched = Watched::start().await;
    watched.app.get("/metrics").send().await.assert_status(404);
    let elsewhere = format!("http://{}/healthz", watched.page);
    assert_eq!(watched.app.http.get(elsewhere).send().await.unwrap().status(), 404);
    assert!(Config::default().metrics.listen.ip().is_loopback());
    let port = free_port();
    let app = TestApp::with(|config| config.metrics.listen.set_port(port)).await;
    let refused = app.http.get(format!("http://127.0.0.1:{port}/metrics"));
    assert!(refused.timeout(Duration::from_secs(5)).send().await.is_err());
}

#[tokio::test]
async fn the_documentation_has_a_line_for_each_metric() {
    let watched = Watched::start().await;
    until(async || {
        watched.value("doorward_signing_key_created_timestamp_seconds{state=\"active\"}").await
            > 1.0
    })
    .await;
    watched.app.signed_up().await;
    let page = watched.text().await;
    let mut shown: BTreeSet<&str> = types(&page).into_keys().collect();
    // TLS only.
    shown.insert("doorward_tls_certificate_expiry_timestamp_seconds");
    let table = docs::text("docs/metrics.md");
    let named = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let named = named
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("doorward_") && !name.contains('{'));
    assert_eq!(named.collect::<BTreeSet<_>>(), shown);
}
