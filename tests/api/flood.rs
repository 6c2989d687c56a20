//! Floods of wrong client secrets, and of feed connections by one client: their effect on others.

use doorward::audit::{self, EventFilter, EventKind};
use doorward::clock::Clock;
use doorward::http::resources::feed_connections::MAX_PER_CLIENT;
use serde_json::Value;

use crate::support::binary::{Doorward, unlimited};
use crate::support::{Client, PASSWORD, TestApp};

#[tokio::test]
async fn after_too_many_wrong_secrets_no_other_is_compared_and_no_known_service_waits() {
    let app = TestApp::with(|config| {
        config.limits.login_burst = 5;
        config.limits.login_per_minute = 1;
    })
    .await;
    let (known, fresh) = (app.service(&[]).await, app.service(&[]).await);
    app.introspect(&known, "x").await.assert_status(200);
    let stranger = Client { id: known.id.clone(), secret: wrong(&known.secret) };
    for _ in 0..5 {
        app.introspect(&stranger, "x").await.assert_oauth(401, "invalid_client");
    }
    for _ in 0..20 {
        let refused = app.introspect(&stranger, "x").await;
        let refused = refused.assert_oauth(429, "temporarily_unavailable");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    // The compared ones are in the audit trail: five, and the one over the limit.
    app.api.audit.write_aggregates().await.unwrap();
    let kind = Some(EventKind::ClientAuthenticationFailed);
    let wanted = EventFilter { user: None, kind, since: None, before: None, limit: 10 };
    let events = audit::list(app.db(), wanted).await.unwrap().events;
    let events: Vec<Value> = events.iter().map(|it| serde_json::to_value(it).unwrap()).collect();
    let times: u64 = events.iter().map(|event| event["times"].as_u64().unwrap()).sum();
    assert_eq!(times, 6, "{events:?}");
    // One that has never authenticated at this node is limited like unknown clients of its address.
    app.introspect(&known, "x").await.assert_status(200);
    app.introspect(&fresh, "x").await.assert_oauth(429, "temporarily_unavailable");
}

/// A well-formed wrong secret.
fn wrong(secret: &str) -> String {
    let (start, last) = secret.split_at(secret.len() - 8);
    let other = if last == "AAAAAAAA" { "BBBBBBBA" } else { "AAAAAAAA" };
    format!("{start}{other}")
}

#[tokio::test]
async fn refused_requests_are_counted_in_the_log_and_do_not_fill_it() {
    const REQUESTS: usize = 400;
    let home = tempfile::tempdir().unwrap();
    let mut command = unlimited(home.path());
    command.env("DOORWARD_LOG__FORMAT", "json");
    command.env("DOORWARD_LIMITS__REGISTER_BURST", "1");
    command.env("DOORWARD_LIMITS__REGISTER_PER_MINUTE", "1");
    let service = Doorward::start(&mut command);
    let began = Clock::system().monotonic();
    service.register("ada@example.com", PASSWORD).await.unwrap().assert_status(201);
    for _ in 0..REQUESTS {
        let refused = service.register("ada@example.com", PASSWORD).await.unwrap();
        refused.assert_problem(429, "rate_limited");
    }
    let took = Clock::system().monotonic().duration_since(began);
    let seconds = usize::try_from(took.as_secs()).unwrap() + 2;
    let (_, _, log) = service.stop();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let refused: Vec<Value> = lines.filter(|line| line["status"] == 429).collect();
    assert!((10..=10 * seconds).contains(&refused.len()), "{} in {seconds} s", refused.len());
    assert!(refused.len() < REQUESTS, "or the machine was too slow to prove anything");
}

#[tokio::test]
async fn one_client_leaves_feed_connections_for_others() {
    let app = TestApp::start().await;
    let (greedy, other) = (app.service(&[]).await, app.service(&[]).await);
    let id = crate::support::id(&greedy.id);
    let mut held: Vec<_> =
        (0..MAX_PER_CLIENT).map(|_| app.api.feed_connections.acquire(id).unwrap()).collect();
    let feed = |client: &Client| {
        let feed = app.http.get(app.url("/revocations")).header("accept", "text/event-stream");
        feed.basic_auth(&client.id, Some(&client.secret)).send()
    };
    let call = app.get("/revocations").client(&greedy).header("accept", "text/event-stream");
    let refused = call.send().await.assert_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("10"));
    assert!(refused.text.contains("1000 feed connections"), "{}", refused.text);
    assert_eq!(feed(&other).await.unwrap().status(), 200);
    // Reading the list itself needs no feed connection.
    app.get("/revocations").client(&greedy).send().await.assert_status(200);
    held.pop();
    let last = feed(&greedy).await.unwrap();
    assert_eq!(last.status(), 200);
    assert!(app.api.feed_connections.acquire(id).is_none());
    drop(last);
    crate::support::until(async || app.api.feed_connections.acquire(id).is_some()).await;
}
