//! A storm of logins does not affect other requests.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorward::clock::Clock;
use doorward::config::Config;
use futures_util::future::join_all;

use crate::support::app::COSTLY_KIB;
use crate::support::client::PASSWORD;
use crate::support::{TestApp, until};

const CLIENTS: usize = 50;

/// Logins in progress count as failures until they have succeeded, so an account has few at a time.
const CLIENTS_PER_ACCOUNT: usize = 5;

const STORM: Duration = Duration::from_secs(4);

/// Tens of milliseconds on a quiet machine; this one may be busy with other tests.
const MAX_LATENCY: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_and_verification_stay_fast_while_logins_saturate_every_core() {
    let app = TestApp::with(|config| {
        config.passwords.memory_kib = COSTLY_KIB;
        config.workers = 0;
        // Every refresh rotates, and so is written.
        config.sessions.retry_window = Duration::ZERO;
        config.passwords.queue_deadline = Config::default().passwords.queue_deadline;
    })
    .await;
    // With many cores the queue has a larger capacity than that.
    let passwords = &app.config.passwords;
    let clients = CLIENTS.max(passwords.hashing_threads() + passwords.queue_length() + 16);
    let mut accounts = Vec::new();
    for _ in 0..clients.div_ceil(CLIENTS_PER_ACCOUNT) {
        accounts.push(app.signed_up().await.email);
    }
    let mut user = app.signed_up().await;
    let clock = Clock::system();
    let end = clock.monotonic() + STORM;
    let over = || clock.monotonic() >= end;
    let (good, refused) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let storm = join_all((0..clients).map(async |client| {
        let email = &accounts[client / CLIENTS_PER_ACCOUNT];
        while !over() {
            let asked = clock.monotonic();
            let answer = app.log_in(email, PASSWORD).await;
            let took = clock.monotonic() - asked;
            if answer.status == 200 {
                good.lock().unwrap().push(took);
                continue;
            }
            let answer = answer.assert_problem(503, "overloaded");
            assert_eq!(answer.body["transient"], true);
            let wait = answer.header("retry-after").and_then(|text| text.parse::<u64>().ok());
            assert!(wait.is_some_and(|seconds| seconds >= 1), "{:?}", answer.headers);
            refused.lock().unwrap().push(took);
        }
    }));
    let (mut me, mut refresh) = (Vec::new(), Vec::new());
    let calm = async {
        while !over() {
            let asked = clock.monotonic();
            user.me().await.assert_status(200);
            me.push(clock.monotonic() - asked);
            let asked = clock.monotonic();
            user.refresh().await.assert_status(200);
            refresh.push(clock.monotonic() - asked);
        }
    };
    tokio::join!(storm, calm);

    let (good, refused) = (good.into_inner().unwrap(), refused.into_inner().unwrap());
    let [good, refused, me, refresh] = [good, refused, me, refresh].map(Times::of);
    println!("while {clients} clients log in for {STORM:?}:");
    println!("  /me {me}\n  /refresh {refresh}\n  /login 200 {good}\n  /login 503 {refused}");
    assert!(me.percentile(99) < MAX_LATENCY, "/me {me}");
    assert!(refresh.percentile(99) < MAX_LATENCY, "/refresh {refresh}");
    assert!(!good.0.is_empty(), "logins go on");
    assert!(!refused.0.is_empty(), "there are more clients than queue slots");
    assert!(refused.percentile(50) < MAX_LATENCY, "the surplus is rejected at once: {refused}");

    // Recovered, and every client that got tokens has a session.
    app.log_in(&accounts[0], PASSWORD).await.assert_status(200);
    app.register("after@example.com", PASSWORD).await.assert_status(201);
    assert_eq!(user.refresh().await.tokens().generation, 1 + refresh.0.len() as u64);
    app.get("/readyz").send().await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_rejects_at_once_and_queued_logins_are_served() {
    let app = TestApp::with(|config| {
        config.passwords.memory_kib = COSTLY_KIB;
        config.passwords.threads = 1;
        config.passwords.queue_capacity = 4;
        // Queued ones are served however slow the machine is.
        config.passwords.queue_deadline = Duration::from_secs(10);
        config.limits.failed_logins_per_address = 100;
    })
    .await;
    let user = app.signed_up().await;
    let before = app.hashed();
    let (first, others) = tokio::join!(app.log_in(&user.email, PASSWORD), async {
        until(async || app.hashed() == before + 1).await;
        join_all((1..CLIENTS).map(|_| app.log_in(&user.email, PASSWORD))).await
    });
    let answers: Vec<_> = others.into_iter().chain([first]).collect();
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(good >= 5, "one at work and four waiting, not {good}");
    let surplus: Vec<_> = answers.into_iter().filter(|answer| answer.status != 200).collect();
    assert!(!surplus.is_empty());
    for answer in surplus {
        let answer = answer.assert_problem(503, "overloaded");
        assert_eq!(answer.header("retry-after"), Some("10"));
    }
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnecting_client_frees_no_queue_slot_and_breaks_nothing() {
    let app = TestApp::with(|config| {
        config.passwords.memory_kib = COSTLY_KIB;
        config.passwords.threads = 1;
        config.passwords.queue_capacity = 4;
    })
    .await;
    let user = app.signed_up().await;
    let hung_up = AtomicBool::new(false);
    for _ in 0..20 {
        let logins = join_all((0..8).map(|_| app.log_in(&user.email, PASSWORD)));
        // Somewhere in the middle of it.
        if tokio::time::timeout(Duration::from_millis(10), logins).await.is_err() {
            hung_up.store(true, Ordering::Relaxed);
        }
        user.me().await.assert_status(200);
    }
    assert!(hung_up.into_inner());
    let mut answer = app.log_in(&user.email, PASSWORD).await;
    while answer.status == 503 {
        answer = app.log_in(&user.email, PASSWORD).await;
    }
    answer.assert_status(200);
}

/// Request durations, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn percentile(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, worst] = [50, 99, 100].map(|percent| self.percentile(percent));
        write!(f, "{} times: p50 {p50:.1?}, p99 {p99:.1?}, worst {worst:.1?}", self.0.len())
    }
}
