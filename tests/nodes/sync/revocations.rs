//! Revocations on their way from one node to another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::clock::Clock;
use doorward::config::{Config, RevocationSync};
use futures_util::future::join_all;
use serde_json::json;

use crate::proxy::Network;
use crate::support::client::PASSWORD;
use crate::support::feed::{log_out_and_be_heard, verifier};
use crate::support::postgres::number_of;
use crate::support::{TestApp, Tokens, until, until_within};

use super::one_beside_a_proxy;

/// Logouts in one test run, unless `DOORWARD_TEST_LOGOUTS` is set.
const LOGOUTS: u64 = 60;

/// Clients that log out concurrently.
const LANES: u64 = 6;

/// The time in which every node knows of a logout, even without a notification: the poll once a
/// second, on a machine that is busy with other tests.
const KNOWN: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_on_one_node_is_known_to_the_other_by_notification() {
    let one = TestApp::start().await;
    let other = one.another_node().await;
    log_out_and_wait("notified", &one, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_on_one_node_is_known_to_the_other_without_notifications() {
    let reload = |config: &mut Config| config.revocations.sync = RevocationSync::Poll;
    let one = TestApp::with(reload).await;
    let other = one.another_node_with(reload).await;
    log_out_and_wait("reloaded", &one, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verifier_subscribed_to_one_node_learns_of_logouts_on_another() {
    let followed = TestApp::with(|config| config.public_url = String::new()).await;
    let issuer = followed.api.issuer.clone();
    let other = followed.another_node_with(|config| config.public_url = issuer).await;
    let verifier = verifier(&followed).await;
    log_out_and_be_heard("another node's", &other, &verifier).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_is_known_while_the_notification_connection_is_frozen() {
    let (proxy, one, other) = one_beside_a_proxy().await;
    proxy.set(Network::ListenersFrozen);
    log_out_and_wait("frozen", &one, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_is_known_while_connections_are_cut() {
    let (proxy, one, other) = one_beside_a_proxy().await;
    let done = tokio::sync::Notify::new();
    let cutting = async {
        while tokio::time::timeout(Duration::from_millis(700), done.notified()).await.is_err() {
            proxy.cut();
        }
    };
    let logging_out = async {
        log_out_and_wait("cut", &one, &other).await;
        done.notify_one();
    };
    tokio::join!(cutting, logging_out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_was_frozen_is_replaced() {
    let (proxy, one, other) = one_beside_a_proxy().await;
    proxy.set(Network::ListenersFrozen);
    let user = one.signed_up().await;
    log_out_and_see(&one, &other, &user.tokens).await;
    // New connections work; this one stays frozen.
    proxy.set(Network::Up);
    let mut c = PgConnection::establish(one.database()).unwrap();
    let before = listeners(&mut c);
    // A listener is considered dead when it has received nothing for 10 s, which is checked every
    // 10 s.
    let is_replaced = async || listeners(&mut c).iter().any(|pid| !before.contains(pid));
    until_within(Duration::from_secs(45), is_replaced).await;
    let fast = async || {
        let tokens = user.another_session().await;
        log_out_and_see(&one, &other, &tokens).await < Duration::from_millis(500)
    };
    until(fast).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_becomes_visible_late_is_not_missed() {
    let one = TestApp::start().await;
    let user = one.signed_up().await;
    let (early, late) = (user.another_session().await, user.another_session().await);
    let mut slow = PgConnection::establish(one.database()).unwrap();
    slow.batch_execute("BEGIN").unwrap();
    list(&mut slow, &early, &one);
    let mut quick = PgConnection::establish(one.database()).unwrap();
    list(&mut quick, &late, &one);
    until(async || one.me(&late.access).await.status == 401).await;
    one.me(&early.access).await.assert_status(200);
    // Far more rows and transactions than at the start.
    for _ in 0..50 {
        list(&mut quick, &user.another_session().await, &one);
    }
    slow.batch_execute("COMMIT").unwrap();
    until(async || one.me(&early.access).await.status == 401).await;
    one.me(&early.access).await.assert_problem(401, "token_revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_progress_during_another_nodes_revocation_leave_no_usable_token() {
    let one = TestApp::with(|config| config.sessions.retry_window = Duration::ZERO).await;
    let other = one.another_node().await;
    for round in 0..number_of("DOORWARD_TEST_RACES").unwrap_or(15) {
        let mut password = PASSWORD.to_owned();
        let user = one.signed_up().await;
        let sessions = [user.another_session().await, user.another_session().await];
        let asking = user.another_session().await;
        let changed = format!("{PASSWORD} {round}");
        let body = json!({ "current_password": password, "new_password": changed });
        let (refreshed, logins, change) = tokio::join!(
            join_all(sessions.iter().map(|tokens| one.refresh(&tokens.refresh))),
            join_all((0..2).map(|_| one.log_in(&user.email, &password))),
            other.post("/me/password").bearer(&asking.access).json(&body).send(),
        );
        let kept = change.tokens();
        password = changed;
        let before = refreshed.into_iter().chain(logins).filter(|answer| answer.status == 200);
        for tokens in before.map(crate::support::Answer::tokens).chain([asking]) {
            for node in [&one, &other] {
                until(async || node.me(&tokens.access).await.status == 401).await;
                node.refresh(&tokens.refresh).await.assert_problem(401, "invalid_grant");
            }
        }
        other.me(&kept.access).await.assert_status(200);
        one.log_in(&user.email, &password).await.assert_status(200);
    }
}

/// Logs out on one node repeatedly; the other must reject in time, and keep rejecting.
async fn log_out_and_wait(how: &str, one: &TestApp, other: &TestApp) {
    let user = one.signed_up().await;
    let rounds = number_of("DOORWARD_TEST_LOGOUTS").unwrap_or(LOGOUTS);
    let lanes = join_all((0..LANES).map(async |_| {
        let mut lane = Vec::new();
        for _ in 0..rounds.div_ceil(LANES) {
            let tokens = user.another_session().await;
            lane.push((log_out_and_see(one, other, &tokens).await, tokens));
        }
        lane
    }));
    let over = AtomicBool::new(false);
    let gone = user.another_session().await;
    log_out_and_see(one, other, &gone).await;
    let staying_out = async {
        while !over.load(Ordering::Relaxed) {
            other.me(&gone.access).await.assert_problem(401, "token_revoked");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let logging_out = async {
        let lanes = lanes.await;
        over.store(true, Ordering::Relaxed);
        lanes
    };
    let (lanes, ()) = tokio::join!(logging_out, staying_out);
    let mut took = Vec::new();
    for (after, tokens) in lanes.into_iter().flatten() {
        for node in [one, other] {
            node.me(&tokens.access).await.assert_problem(401, "token_revoked");
        }
        took.push(after);
    }
    took.sort();
    let of = |share: usize| took[took.len() * share / 100];
    let most = took[took.len() - 1];
    println!(
        "{how}: {} logouts, p50 {:.1?}, p99 {:.1?}, at most {most:.1?}",
        took.len(),
        of(50),
        of(99)
    );
    assert!(most < KNOWN, "{most:?}");
}

/// Logs out on one node, and returns how long the other node took to reject the token.
async fn log_out_and_see(one: &TestApp, other: &TestApp, tokens: &Tokens) -> Duration {
    let clock = Clock::system();
    other.me(&tokens.access).await.assert_status(200);
    one.post("/logout").bearer(&tokens.access).send().await.assert_status(204);
    let acknowledged = clock.monotonic();
    until(async || other.me(&tokens.access).await.status == 401).await;
    let took = clock.monotonic() - acknowledged;
    other.me(&tokens.access).await.assert_problem(401, "token_revoked");
    took
}

/// The server processes that run LISTEN.
fn listeners(c: &mut PgConnection) -> Vec<i32> {
    #[derive(QueryableByName)]
    struct Process {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        pid: i32,
    }
    let all = "SELECT pid FROM pg_stat_activity
               WHERE datname = current_database() AND query LIKE 'LISTEN %'";
    let all = diesel::sql_query(all).get_results::<Process>(c).unwrap();
    all.into_iter().map(|process| process.pid).collect()
}

/// Revokes a session as another node would.
fn list(c: &mut PgConnection, tokens: &Tokens, app: &TestApp) {
    let expires = app.clock.now().plus(Duration::from_secs(900)).as_micros();
    c.batch_execute(&format!(
        "INSERT INTO blocklist (id, expires_at, revoked_at) VALUES ('{}', {expires}, 0)",
        tokens.session
    ))
    .unwrap();
}
