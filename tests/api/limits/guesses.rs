//! Login throttling: parallel guesses, refill, and reservations that are returned.

use futures_util::future::join_all;

use crate::support::app::behind_a_proxy;
use crate::support::{Answer, PASSWORD, TestApp};

use super::{ELSEWHERE, WRONG, log_in_from, patient, retry_after};

#[tokio::test]
async fn a_hundred_parallel_guesses_count_as_a_hundred() {
    let app = TestApp::with(patient).await;
    let user = app.signed_up().await;
    let before = app.hashed();
    let answers = join_all((0..100).map(|_| app.log_in(&user.email, WRONG))).await;
    assert_eq!(app.hashed() - before, 10, "as many as failed_logins_per_address");
    let (guesses, refused): (Vec<Answer>, Vec<Answer>) =
        answers.into_iter().partition(|answer| answer.status == 401);
    assert_eq!(guesses.len(), 10);
    for answer in refused {
        assert!(matches!(answer.status, 429 | 503), "{answer:?}");
        assert!(retry_after(&answer) >= 1);
        assert_eq!(answer.body["transient"] == true, answer.status == 503);
    }
    let refused = app.log_in(&user.email, PASSWORD).await;
    refused.assert_problem(429, "too_many_failed_logins");
    assert_eq!(app.hashed() - before, 10, "the right password is not even compared");
}

#[tokio::test]
async fn a_hundred_parallel_guesses_from_everywhere_count_as_a_hundred() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        patient(config);
        config.limits.failed_logins_per_account = 20;
    })
    .await;
    let user = app.signed_up().await;
    let before = app.hashed();
    let addresses: Vec<String> = (0..100).map(|n| format!("198.51.100.{n}")).collect();
    let answers =
        join_all(addresses.iter().map(|address| log_in_from(&app, address, &user.email, WRONG)));
    let answers = answers.await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 20);
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 429 | 503)), "{answers:?}");
    assert_eq!(app.hashed() - before, 100, "eighty of them compared with nothing");
    let refused = log_in_from(&app, ELSEWHERE, &user.email, PASSWORD).await;
    refused.assert_problem(429, "too_many_failed_logins");
}

#[tokio::test]
async fn another_form_of_the_address_has_the_same_limit() {
    let app = TestApp::with(|config| config.limits.failed_logins_per_address = 4).await;
    app.register("ada@example.com", PASSWORD).await.assert_status(201);
    for email in ["ada@example.com", "ADA@example.com", " ada@example.com", "Ada@Example.Com\n"] {
        app.log_in(email, WRONG).await.assert_status(401);
    }
    for email in ["ada@example.com", "aDa@example.com", "\tada@example.com  "] {
        app.log_in(email, PASSWORD).await.assert_problem(429, "too_many_failed_logins");
    }
    // A look-alike is another account.
    app.log_in("\u{430}da@example.com", WRONG).await.assert_status(401);
}

#[tokio::test]
async fn unknown_addresses_count_like_known_ones() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let disabled = app.signed_up().await;
    let id = crate::support::id(&disabled.id);
    assert!(app.api.account_admin.disable(id).await.unwrap().changed);
    let mut refusals = Vec::new();
    for (email, password) in [
        (user.email.as_str(), WRONG),
        ("nobody@example.com", PASSWORD),
        ("nobody", WRONG),
        (&disabled.email, PASSWORD),
    ] {
        for _ in 0..10 {
            app.log_in(email, password).await.assert_problem(401, "invalid_credentials");
        }
        let refused = app.log_in(email, password).await;
        let mut refused = refused.assert_problem(429, "too_many_failed_logins");
        refused.body.as_object_mut().unwrap().remove("request_id");
        refusals.push((retry_after(&refused), refused.body));
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:#?}");
}

#[tokio::test]
async fn an_exhausted_limit_refills_evenly_and_sends_retry_after() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for _ in 0..10 {
        app.log_in(&user.email, WRONG).await.assert_status(401);
    }
    let refused = app.log_in(&user.email, PASSWORD).await;
    let wait = retry_after(&refused.assert_problem(429, "too_many_failed_logins"));
    assert!((90..=91).contains(&wait), "a tenth of 15 minutes, not {wait} s");
    app.advance(wait - 2);
    app.log_in(&user.email, PASSWORD).await.assert_status(429);
    app.advance(2);
    app.log_in(&user.email, WRONG).await.assert_status(401);
    app.log_in(&user.email, PASSWORD).await.assert_status(429);
    app.advance(900);
    for _ in 0..10 {
        app.log_in(&user.email, WRONG).await.assert_status(401);
    }
    app.log_in(&user.email, PASSWORD).await.assert_status(429);
}

#[tokio::test]
async fn the_right_password_releases_its_reservation_and_resets_no_failures() {
    let app = TestApp::with(|config| {
        config.limits.failed_logins_per_address = 3;
        config.limits.failed_logins_per_account = 3;
    })
    .await;
    let user = app.signed_up().await;
    for _ in 0..10 {
        user.another_session().await;
    }
    app.log_in(&user.email, WRONG).await.assert_status(401);
    app.log_in(&user.email, WRONG).await.assert_status(401);
    user.another_session().await;
    app.log_in(&user.email, WRONG).await.assert_status(401);
    app.log_in(&user.email, PASSWORD).await.assert_problem(429, "too_many_failed_logins");
}

#[tokio::test]
async fn parallel_logins_with_the_right_password_count_as_no_failure() {
    let app = TestApp::with(patient).await;
    let user = app.signed_up().await;
    let answers = join_all((0..10).map(|_| app.log_in(&user.email, PASSWORD))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    for _ in 0..10 {
        app.log_in(&user.email, WRONG).await.assert_status(401);
    }
    app.log_in(&user.email, WRONG).await.assert_status(429);
}
