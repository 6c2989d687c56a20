//! The database refused, frozen, cut off, slow, restarted and failed over, under load.
//!
//! Whatever happens to it: every request is answered, with its result or with a 503 that says to
//! try again; nothing that was acknowledged is lost, nothing that was revoked is accepted; and soon
//! after the database is back, so is the service.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use doorward::audit::EventKind;
use doorward::clock::Clock;
use doorward::config::{Config, WhenStale};
use doorward::database::AnyConnection;
use doorward::database::schema::{audit_events, sessions};
use doorward::secret::Secret;
use futures_util::future::join_all;
use uuid::Uuid;

use crate::support::client::{Call, PASSWORD};
use crate::support::postgres::{Cluster, number_of};
use crate::support::proxy::{Network, Proxy};
use crate::support::{Answer, TestApp, Tokens, id, until};

/// How long a fault lasts, unless `DOORWARD_TEST_OUTAGE` says otherwise.
const OUTAGE: Duration = Duration::from_secs(5);

/// When every answer of the service is its full one again after the database is back: 5 s on a
/// quiet machine; this one may be busy with other tests.
const RECOVERY: Duration = Duration::from_secs(10);

/// Within which a request is answered while the database is not: 3 s on a quiet machine.
const ANSWER: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_connections_costs_nothing_that_was_acknowledged() {
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
async fn a_crash_of_the_database_costs_nothing_that_was_acknowledged() {
    let cluster = Arc::new(Mutex::new(Cluster::start(&[])));
    let url = cluster.lock().unwrap().empty_database();
    let app = TestApp::on_database(url, strict).await;
    let outage = async || {
        // Beside the clients, who go on meanwhile.
        let own = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || own.lock().unwrap().crash()).await.unwrap();
        lasts().await;
        let own = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || own.lock().unwrap().start_again()).await.unwrap();
    };
    survives("crashed", &app, outage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_synchronous_standby_costs_nothing_that_was_acknowledged() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_verified_without_the_database_for_as_long_as_the_policy_allows() {
    let (proxy, app) = behind_a_proxy_with(|config| {
        config.revocations.max_staleness = Duration::from_secs(15);
    })
    .await;
    let (real, began) = (Clock::system(), Clock::system().monotonic());
    let user = app.signed_up().await;
    let verified = async || app.api.sessions.authenticate(&user.tokens.access).await;
    verified().await.unwrap();
    proxy.set(Network::Refused);
    // From 5 s on a load balancer should look elsewhere; the token is good yet.
    let not_ready = async || app.get("/readyz").send().await.text.contains("revocation list");
    until(not_ready).await;
    verified().await.unwrap();
    until(async || verified().await.is_err()).await;
    let me = app.me(&user.tokens.access).await.assert_problem(503, "revocations_stale");
    assert_eq!(me.body["transient"], true, "{}", me.text);
    proxy.set(Network::Up);
    until(async || user.me().await.status == 200).await;
    // PostgreSQL's clock has not stood still meanwhile.
    app.clock.advance(real.monotonic() - began);
    let ready = async || {
        app.catch_up();
        app.get("/readyz").send().await.status == 200
    };
    until(ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fail_open_trusts_tokens_with_a_list_of_any_age() {
    let (proxy, app) = behind_a_proxy_with(|config| {
        config.revocations.max_staleness = Duration::ZERO;
        config.revocations.when_stale = WhenStale::FailOpen;
    })
    .await;
    let user = app.signed_up().await;
    proxy.set(Network::Refused);
    until(async || app.get("/readyz").send().await.status == 503).await;
    app.api.sessions.authenticate(&user.tokens.access).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_on_many_rows_need_few_round_trips() {
    let (proxy, app) = behind_a_proxy_with(|config| {
        strict(config);
        // The machine may be busy with other tests; one row after the other would take two minutes.
        config.database.statement_timeout = Duration::from_secs(10);
        config.audit.retention = Duration::from_secs(86_400);
    })
    .await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    let more = "INSERT INTO sessions SELECT (jsonb_populate_record(sessions,
                    jsonb_build_object('id', gen_random_uuid()))).*
                FROM sessions CROSS JOIN generate_series(1, 600)";
    let more = app.db().write(move |tx| diesel::sql_query(more).execute(tx.connection()));
    assert_eq!(more.await.unwrap(), 1200);

    proxy.set(Network::Far(Duration::from_millis(10)));
    user.log_out_scope("all").await.assert_status(204);
    user.me().await.assert_problem(401, "token_revoked");
    app.refresh(&other.refresh).await.assert_ended("logout");
    for count in 0..200_u128 {
        let somebody = Some(Uuid::from_u128(count).into());
        app.api.audit.record_failure(EventKind::LoginFailed, somebody, "192.0.2.1");
    }
    app.api.audit.flush_failures().await.unwrap();
    assert_eq!(app.api.revocations.stored().await.unwrap(), 1202);
    let events = app.db().read(|c| audit_events::table.count().get_result::<i64>(c));
    // A key, an account, two sessions that began, 1,202 that ended.
    assert_eq!(events.await.unwrap(), 4 + 1202 + 200);

    app.advance(200 * 86_400);
    while app.api.revocations.purge(app.clock.now()).await.unwrap() {}
    while app.api.sessions.purge(app.clock.now()).await.unwrap() {}
    while app.api.audit.purge(app.clock.now()).await.unwrap() {}
    let left = app.db().read(|c| {
        let sessions = sessions::table.count().get_result::<i64>(c)?;
        // Keys are looked after meanwhile.
        let events = audit_events::table.filter(audit_events::event.not_like("key_%"));
        Ok((sessions, events.count().get_result::<i64>(c)?))
    });
    assert_eq!(left.await.unwrap(), (0, 0));
    assert_eq!(app.api.revocations.stored().await.unwrap(), 0);
}

/// A retry does all that the request was about, and the client goes on. When the database then
/// answers the request, too, what it says looks like a reuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_was_refused_while_the_database_was_frozen_ends_nothing_when_it_thaws() {
    let freezer = Freezer::start().await;
    let (app, other) = (&freezer.app, &freezer.other);
    let refresh = app.signed_up().await.tokens.refresh;
    let again = freezer
        .refuse(app.refresh_with_key(&refresh, "the-key-of-the-request"), async || {
            let next = other.refresh_with_key(&refresh, "the-key-of-the-request").await.tokens();
            other.refresh_with_key(&next.refresh, "the-key-of-the-next-one").await.tokens()
        })
        .await;
    let last = other.refresh_with_key(&again.refresh, "the-key-of-the-last-one").await.tokens();
    assert_eq!(last.generation, 3);
    other.me(&last.access).await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_rejected_during_a_freeze_are_not_executed_afterwards() {
    let freezer = Freezer::start().await;
    let user = freezer.app.signed_up().await;
    let leave = freezer.app.post("/logout").bearer(&user.tokens.access).send();
    freezer.refuse(leave, async || ()).await;
    assert_eq!(freezer.other.live_sessions(&user.id).await, [user.tokens.session.as_str()]);
    freezer.other.me(&user.tokens.access).await.assert_status(200);
}

/// Two nodes, of which one has a single connection for its requests, and that by a proxy.
struct Freezer {
    proxy: Proxy,
    direct: String,
    app: TestApp,
    other: TestApp,
}

impl Freezer {
    async fn start() -> Self {
        let cluster = Cluster::shared();
        let (proxy, direct) = (Proxy::to(cluster.port), cluster.database());
        let one_connection = |config: &mut Config| {
            strict(config);
            config.database.pool_size = 1;
        };
        let app = TestApp::on_database(proxy.url(&direct), one_connection).await;
        let unfrozen =
            |config: &mut Config| config.database_url = Some(Secret::new(direct.clone()));
        let other = app.another_node_with(unfrozen).await;
        Self { proxy, direct, app, other }
    }

    /// Has the node refuse a request because it hears nothing of the database, and lets that answer
    /// after `meanwhile`.
    async fn refuse<T>(
        &self,
        request: impl Future<Output = Answer>,
        meanwhile: impl AsyncFnOnce() -> T,
    ) -> T {
        let connection = self.app.db().read(backend).await.unwrap();
        assert!(is_connected(&self.direct, connection));
        self.proxy.set(Network::Frozen);
        let refused = request.await.assert_problem(503, "unavailable");
        assert_eq!(refused.body["transient"], true);
        let outcome = meanwhile().await;
        self.proxy.set(Network::Up);
        // It was given up, and goes when what it was used for has come back.
        until(async || !is_connected(&self.direct, connection)).await;
        outcome
    }
}

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    pid: i32,
}

/// The server's process that serves this connection.
fn backend(connection: &mut AnyConnection) -> QueryResult<i32> {
    let AnyConnection::Postgres(connection) = connection else { panic!("it is PostgreSQL's") };
    let found = diesel::sql_query("SELECT pg_backend_pid() AS pid").get_result(connection);
    found.map(|Backend { pid }| pid)
}

fn is_connected(url: &str, backend: i32) -> bool {
    let mut connection = PgConnection::establish(url).unwrap();
    let all: Vec<Backend> =
        diesel::sql_query("SELECT pid FROM pg_stat_activity").load(&mut connection).unwrap();
    all.iter().any(|it| it.pid == backend)
}

async fn behind_a_proxy() -> (Proxy, TestApp) {
    behind_a_proxy_with(strict).await
}

async fn behind_a_proxy_with(change: impl FnOnce(&mut Config)) -> (Proxy, TestApp) {
    let cluster = Cluster::shared();
    let proxy = Proxy::to(cluster.port);
    let app = TestApp::on_database(proxy.url(&cluster.database()), change).await;
    (proxy, app)
}

/// Every refresh rotates, and every replay needs its key.
fn strict(config: &mut Config) {
    config.sessions.retry_window = Duration::ZERO;
    config.sessions.max_per_user = 10_000;
}

async fn lasts() {
    tokio::time::sleep(number_of("DOORWARD_TEST_OUTAGE").map_or(OUTAGE, Duration::from_secs)).await;
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    /// When each full answer and each 503 came.
    good: Vec<Instant>,
    refused: Vec<Instant>,
    slowest: Duration,
    left: Vec<Tokens>,
    registered: Vec<String>,
}

impl Seen {
    /// Counts an answer, and says whether it is a full one.
    fn add(&mut self, asked: Instant, answered: Instant, status: u16) -> bool {
        self.slowest = self.slowest.max(answered - asked);
        let is_good = status != 503;
        if is_good { &mut self.good } else { &mut self.refused }.push(answered);
        is_good
    }
}

/// Runs the fault under load, and checks what the top of this file says.
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
            // After a 503 the logout may have been made all the same, and be known already.
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
            // After a 503 the account may be there all the same.
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
    for (tokens, _) in &chains {
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

/// What a client of [`survives`] goes by.
#[derive(Clone, Copy)]
struct Load<'a> {
    clock: &'a Clock,
    seen: &'a Mutex<Seen>,
    is_over: &'a AtomicBool,
}

impl Load<'_> {
    /// Asks until the answer is not "try again", for a request that was refused may have been done;
    /// nothing when it is over.
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

fn refresh(app: &TestApp, tokens: &Tokens, key: &str) -> Call {
    let body = serde_json::json!({ "refresh_token": tokens.refresh });
    app.post("/refresh").header("idempotency-key", key).json(&body)
}

fn new_key() -> String {
    Uuid::new_v4().to_string()
}
