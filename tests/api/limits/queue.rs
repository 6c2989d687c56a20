//! The queue of the hashing threads, and clients that hang up.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::app::{COSTLY_KIB, CROWD};
use crate::support::{PASSWORD, TestApp, until};

use super::{NEW_PASSWORD, WRONG, patient, retry_after};

#[tokio::test]
async fn a_client_that_disconnects_frees_nothing() {
    let app = TestApp::with(|config| {
        patient(config);
        config.passwords.memory_kib = COSTLY_KIB;
        config.passwords.threads = 1;
        config.limits.failed_logins_per_address = 5;
    })
    .await;
    let user = app.signed_up().await;
    let body = json!({ "email": user.email, "password": WRONG }).to_string();
    let request = format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let before = app.hashed();
    let mut guesses = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        guesses.push(stream);
    }
    let hasher = app.api.accounts.hasher();
    until(async || app.hashed() - before + hasher.waiting() as u64 == 5).await;
    drop(guesses);
    until(async || hasher.waiting() == 0).await;
    let mut last = None;
    until(async || {
        // 503 as long as one of them is still being hashed.
        let answer = app.log_in(&user.email, PASSWORD).await;
        last = Some(answer.clone());
        answer.status != 503
    })
    .await;
    last.unwrap().assert_problem(429, "too_many_failed_logins");
}

#[tokio::test]
async fn logins_beyond_the_queue_are_rejected_at_once_and_count_as_no_failure() {
    const LOGINS: usize = 20;
    let app = TestApp::with(|config| {
        config.passwords.memory_kib = COSTLY_KIB;
        config.passwords.threads = 1;
        config.passwords.queue_capacity = 2;
        // Some 150 ms each, so that no machine has done one before the last has arrived.
        config.passwords.iterations = 10;
        config.database.pool_size = CROWD;
        config.limits.failed_logins_per_address = u32::try_from(LOGINS).unwrap();
    })
    .await;
    let user = app.signed_up().await;
    let deadline = app.config.passwords.queue_deadline.as_secs();
    let before = app.hashed();
    let answers = join_all((0..LOGINS).map(async |_| {
        let started = app.clock.monotonic();
        let answer = app.log_in(&user.email, WRONG).await;
        (answer, app.clock.monotonic().duration_since(started))
    }))
    .await;
    let hashed = answers.iter().filter(|(answer, _)| answer.status == 401).count();
    assert_eq!(app.hashed() - before, hashed as u64);
    assert!((1..LOGINS).contains(&hashed), "{hashed} of {LOGINS} were hashed");
    for (refused, took) in answers.into_iter().filter(|(answer, _)| answer.status != 401) {
        let refused = refused.assert_problem(503, "overloaded");
        assert_eq!(refused.body["error"], "temporarily_unavailable");
        assert_eq!(refused.body["transient"], true);
        assert!((1..=deadline).contains(&retry_after(&refused)));
        assert!(took < Duration::from_secs(5), "{took:?} is too long");
    }
    // The rejected ones have released their reservations: exactly this many are left.
    for _ in hashed..LOGINS {
        app.log_in(&user.email, WRONG).await.assert_problem(401, "invalid_credentials");
    }
    app.log_in(&user.email, PASSWORD).await.assert_problem(429, "too_many_failed_logins");
}

#[tokio::test]
async fn every_hashing_endpoint_rejects_excess_requests() {
    let app = TestApp::with(|config| {
        config.passwords.memory_kib = COSTLY_KIB;
        config.passwords.threads = 1;
        config.passwords.queue_capacity = 1;
        config.passwords.iterations = 20;
    })
    .await;
    let user = app.signed_up().await;
    let before = app.hashed();
    let hasher = app.api.accounts.hasher();
    let (first, second, refused) = tokio::join!(
        app.log_in("a@example.com", WRONG),
        async {
            until(async || app.hashed() == before + 1).await;
            app.log_in("b@example.com", WRONG).await
        },
        async {
            until(async || app.hashed() == before + 1 && hasher.waiting() == 1).await;
            tokio::join!(
                app.register("c@example.com", PASSWORD),
                user.change_password(PASSWORD, NEW_PASSWORD),
                user.close(PASSWORD),
            )
        }
    );
    first.assert_status(401);
    second.assert_status(401);
    for refused in [refused.0, refused.1, refused.2] {
        assert!(retry_after(&refused.assert_problem(503, "overloaded")) >= 1);
    }
    user.me().await.assert_status(200);
}
