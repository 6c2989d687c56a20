//! Every kind of outage, under load: nothing that was acknowledged is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use doorward::clock::Clock;
use doorward::database::schema::sessions;
use futures_util::future::join_all;
use uuid::Uuid;

use crate::proxy::{Network, Proxy};
use crate::support::client::{Call, PASSWORD};
use crate::support::postgres::{Cluster, number_of};
use crate::support::{Answer, TestApp, Tokens, id, until};

use super::{behind_a_proxy_with, refresh, strict};

/// How long a fault lasts, unless `DOORWARD_TEST_OUTAGE` is set.
const OUTAGE: Duration = Duration::from_secs(5);

/// The time until every response of the service is a full one again after the database is back: 5 s
/// on a quiet machine; this one may be busy with other tests.
const RECOVERY: Duration = Duration::from_secs(10);

/// The time in which a request is answered while the database is not available: 3 s on a quiet
/// machine.
const ANSWER: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_connections_loses_no_acknowledged_change() {
    let (proxy, app) = behind_a_proxy().await;
    let outage = async || {
        proxy.set(Network::Refused);
        lasts().await;
        proxy.set(Network::Up);
    };
    survives("refused", &app, outage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unresponsive_database_blocks_no_request_forever() {
    let (proxy, app) = behind_a_proxy().await;
    let outage = async || {
        proxy.set(Network::Frozen);
        lasts().await;
        proxy.set(Network::Up);
    };
    survives("frozen", &app, outage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_at_once_are_replaced() {
    let (proxy, app) = behind_a_proxy().await;
    let outage = async || {
        for _ in 0..5 {
            proxy.cut();
            tokio::time::sleep(OUTAGE / 10).await;
        }
    };
    survives("cut", &app, outage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_times_out() {
    let app = TestApp::on_database(Cluster::shared().database(), strict).await;
    let url = app.database().to_owned();
    let outage = async || {
        // Every unit waits for this lock, and every connection is in use by one that waits.
        let mut holder = PgConnection::establish(&url).unwrap();
        let lock = "BEGIN; LOCK TABLE users, sessions IN ACCESS EXCLUSIVE MODE";
        diesel::connection::SimpleConnection::batch_execute(&mut holder, lock).unwrap();
        lasts().await;
        drop(holder);
    };
    survives("locked", &app, outage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_database_loses_no_acknowledged_change() {
    let cluster = Arc::new(Mutex::new(Cluster::start(&[])));
    let url = cluster.lock().unwrap().empty_database();
    let app = TestApp::on_database(url, strict).await;
    let outage = async || {
        // Concurrent with the clients, which continue.
        let own = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || own.lock().unwrap().crash()).await.unwrap();
        lasts().await;
        let own = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || own.lock().unwrap().start_again()).await.unwrap();
    };
    survives("crashed", &app, outage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_synchronous_standby_loses_no_acknowledged_change() {
    let primary = Cluster::start(&["synchronous_standby_names=*", "wal_level=replica"]);
    let standby = Arc::new(primary.standby());
    let direct = primary.empty_database();
    let both = direct.replace(
        &format!("127.0.0.1:{}", primary.port),
        &format!("127.0.0.1:{},127.0.0.1:{}", primary.port, standby.port),
    );
    let app = TestApp::on_database(both, strict).await;
    let primary = Arc::new(Mutex::new(primary));
    let outage = async || {
        let own = Arc::clone(&primary);
        tokio::task::spawn_blocking(move || own.lock().unwrap().crash()).await.unwrap();
        lasts().await;
        let own = Arc::clone(&standby);
        let promote = move || own.query("postgres", "SELECT pg_promote()");
        tokio::task::spawn_blocking(promote).await.unwrap();
    };
    survives("failed over", &app, outage).await;
}

async fn behind_a_proxy() -> (Proxy, TestApp) {
    behind_a_proxy_with(strict).await
}

async fn lasts() {
    tokio::time::sleep(number_of("DOORWARD_TEST_OUTAGE").map_or(OUTAGE, Duration::from_secs)).await;
}

/// The responses to the clients.
#[derive(Default)]
struct Seen {
    /// The times of the full responses and of the 503s.
    good: Vec<Instant>,
    refused: Vec<Instant>,
    slowest: Duration,
    left: Vec<Tokens>,
    registered: Vec<String>,
}

impl Seen {
    /// Counts a response, and returns whether it is a full one.
    fn add(&mut self, asked: Instant, answered: Instant, status: u16) -> bool {
        self.slowest = self.slowest.max(answered - asked);
        let is_good = status != 503;
        if is_good { &mut self.good } else { &mut self.refused }.push(answered);
        is_good
    }
}

/// Runs the fault under load, and checks the claims at the top of this file.
async fn survives(fault: &str, app: &TestApp, outage: impl AsyncFnOnce()) {
    let clock = Clock::system();
    let user = app.signed_up().await;
    let mut chains = Vec::new();
    for _ in 0..6 {
        chains.push((user.another_session().await, new_key()));
    }
    let gone = user.another_session().await;
    app.post("/logout").bearer(&gone.access).send().await.assert_status(204);

    let seen = Mutex::new(Seen::default());
    let is_over = AtomicBool::new(false);
    let load = Load { clock: &clock, seen: &seen, is_over: &is_over };
    let refreshing = join_all(chains.iter_mut().map(async |(tokens, key)| {
        while let Some(answer) = load.ask(|| refresh(app, tokens, key)).await {
            let next = answer.tokens();
            assert_eq!(next.generation, tokens.generation + 1);
            (*tokens, *key) = (next, new_key());
        }
    }));
    let leaving = async {
        let log_in = || log_in(app, &user.email);
        while let Some(answer) = load.ask(log_in).await {
            let tokens = answer.tokens();
            let log_out = || app.post("/logout").bearer(&tokens.access);
            let Some(answer) = load.ask(log_out).await else { break };
            // After a 503 the logout may have been done, and be known already.
            if answer.status != 401 {
                answer.assert_status(204);
            }
            seen.lock().unwrap().left.push(tokens);
        }
    };
    let registering = async {
        for count in 0.. {
            let email = format!("{}-{count}@example.com", fault.replace(' ', "-"));
            let register = || app.post("/register").json(&credentials(&email));
            let Some(answer) = load.ask(register).await else { break };
            // After a 503 the account may exist.
            if answer.status != 409 {
                answer.assert_status(201);
            }
            seen.lock().unwrap().registered.push(email);
        }
    };
    let trying_again = async {
        while let Some(answer) = load.ask(|| app.get("/me").bearer(&gone.access)).await {
            answer.assert_problem(401, "token_revoked");
        }
    };
    let (began, back) = tokio::join!(
        async {
            until(async || seen.lock().unwrap().good.len() > 50).await;
            let began = clock.monotonic();
            outage().await;
            let back = clock.monotonic();
            let all_good = async || {
                let seen = seen.lock().unwrap();
                let last = seen.refused.iter().max().copied().unwrap_or(began);
                seen.good.iter().filter(|good| **good > last.max(back)).count() > 100
            };
            until(all_good).await;
            is_over.store(true, Ordering::Relaxed);
            (began, back)
        },
        async { tokio::join!(refreshing, leaving, registering, trying_again) }
    )
    .0;

    let seen = seen.into_inner().unwrap();
    assert_recovered(fault, &seen, began, back);
    let kept = chains.iter().map(|(tokens, _)| tokens);
    assert_kept(app, kept, &seen).await;
}

/// The service answers again soon after the database is back.
fn assert_recovered(fault: &str, seen: &Seen, began: Instant, back: Instant) {
    let recovered =
        seen.refused.iter().max().map_or(Duration::ZERO, |last| *last - back.min(*last));
    println!(
        "{fault} for {:.1?}: {} answers and {} times 503, the slowest after {:.2?}; none was 503 \
         {recovered:.2?} after the return",
        back - began,
        seen.good.len(),
        seen.refused.len(),
        seen.slowest,
    );
    assert!(recovered < RECOVERY, "{recovered:?}");
    assert!(seen.slowest < ANSWER, "{:?}", seen.slowest);
}

/// All that was acknowledged is stored.
async fn assert_kept(app: &TestApp, kept: impl Iterator<Item = &Tokens>, seen: &Seen) {
    for tokens in kept {
        let session = id(&tokens.session);
        let stored = app.db().read(move |c| {
            sessions::table.find(session).select(sessions::generation).get_result::<i64>(c)
        });
        assert_eq!(u64::try_from(stored.await.unwrap()).unwrap(), tokens.generation);
        app.me(&tokens.access).await.assert_status(200);
    }
    for tokens in &seen.left {
        app.me(&tokens.access).await.assert_problem(401, "token_revoked");
        app.refresh(&tokens.refresh).await.assert_ended("logout");
    }
    for email in &seen.registered {
        app.register(email, PASSWORD).await.assert_problem(409, "email_taken");
    }
}

/// The shared state of a client of [`survives`].
#[derive(Clone, Copy)]
struct Load<'a> {
    clock: &'a Clock,
    seen: &'a Mutex<Seen>,
    is_over: &'a AtomicBool,
}

impl Load<'_> {
    /// Repeats a request until it is not asked to retry, because a rejected one may have been done;
    /// `None` at the end.
    async fn ask(&self, request: impl Fn() -> Call) -> Option<Answer> {
        if self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        loop {
            let asked = self.clock.monotonic();
            let answer = request().send().await;
            let answered = self.clock.monotonic();
            if self.seen.lock().unwrap().add(asked, answered, answer.status) {
                return Some(answer);
            }
            assert_eq!(answer.body["transient"], true, "{}", answer.text);
            assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn credentials(email: &str) -> serde_json::Value {
    serde_json::json!({ "email": email, "password": PASSWORD })
}

fn log_in(app: &TestApp, email: &str) -> Call {
    app.post("/login").json(&credentials(email))
}

fn new_key() -> String {
    Uuid::new_v4().to_string()
}
