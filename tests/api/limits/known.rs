//! Known devices and networks have guesses of their own.

use futures_util::future::join_all;

use crate::support::app::COSTLY_KIB;
use crate::support::{PASSWORD, TestApp, until};

use super::{
    ELSEWHERE, HOME, WRONG, exhaust_the_account_limit, log_in_from, log_in_with_device, patient,
    retry_after, signed_up_at_home, under_attack,
};

#[tokio::test]
async fn unknown_sources_can_neither_keep_guessing_nor_lock_the_owner_out() {
    let app = TestApp::with(under_attack).await;
    let (email, tokens) = signed_up_at_home(&app).await;
    let (_, others_tokens) = signed_up_at_home(&app).await;
    exhaust_the_account_limit(&app, &email).await;

    let before = app.hashed();
    let refused = log_in_from(&app, ELSEWHERE, &email, PASSWORD).await;
    let refused = refused.assert_problem(429, "too_many_failed_logins");
    assert!(retry_after(&refused) >= 1);
    for token in [&others_tokens.refresh, &tokens.access, &tokens.refresh[..50], "dwr_", ""] {
        let refused = log_in_with_device(&app, ELSEWHERE, &email, PASSWORD, token).await;
        refused.assert_problem(429, "too_many_failed_logins");
    }
    // Their passwords are not compared, but each attempt is hashed while their network has attempts
    // left.
    assert_eq!(app.hashed() - before, 6);

    log_in_from(&app, HOME, &email, PASSWORD).await.assert_status(200);
    let known = log_in_with_device(&app, ELSEWHERE, &email, PASSWORD, &tokens.refresh).await;
    known.assert_status(200);
    // By that, this network has become a known one.
    log_in_from(&app, ELSEWHERE, &email, PASSWORD).await.assert_status(200);
    app.me(&tokens.access).await.assert_status(200);
    app.refresh(&tokens.refresh).await.assert_status(200);
}

#[tokio::test]
async fn the_owner_logs_in_while_guesses_of_others_are_being_hashed() {
    let app = TestApp::with(|config| {
        under_attack(config);
        patient(config);
        config.passwords.memory_kib = COSTLY_KIB;
        config.passwords.threads = 1;
    })
    .await;
    let (email, _) = signed_up_at_home(&app).await;
    let before = app.hashed();
    let addresses: Vec<String> = (0..20).map(|n| format!("198.51.100.{n}")).collect();
    let strangers = addresses.iter().map(|address| log_in_from(&app, address, &email, WRONG));
    let (guesses, (stranger, owner)) = tokio::join!(join_all(strangers), async {
        let hasher = app.api.accounts.hasher();
        until(async || app.hashed() - before + hasher.waiting() as u64 >= 20).await;
        tokio::join!(
            log_in_from(&app, ELSEWHERE, &email, PASSWORD),
            log_in_from(&app, HOME, &email, PASSWORD),
        )
    });
    assert!(guesses.iter().all(|guess| guess.status == 401));
    assert!(matches!(stranger.status, 429 | 503), "{stranger:?}");
    owner.assert_status(200);
}

#[tokio::test]
async fn an_earlier_token_of_the_account_is_a_known_device_unless_its_session_ended_by_reuse() {
    let app = TestApp::with(under_attack).await;
    let (email, spent) = signed_up_at_home(&app).await;
    let log_in = async || log_in_from(&app, HOME, &email, PASSWORD).await.tokens();
    let (logged_out, reused, live) = (log_in().await, log_in().await, log_in().await);

    let mut last = spent.refresh.clone();
    for _ in 0..3 {
        last = app.refresh(&last).await.tokens().refresh;
        app.advance(31);
    }
    app.post("/logout").bearer(&logged_out.access).send().await.assert_status(204);
    let mut last = reused.refresh.clone();
    for _ in 0..2 {
        last = app.refresh(&last).await.tokens().refresh;
        app.advance(31);
    }
    app.refresh(&reused.refresh).await.assert_ended("refresh_token_reused");

    app.advance(31 * 86400);
    app.refresh(&live.refresh).await.assert_ended("expired");
    exhaust_the_account_limit(&app, &email).await;
    for (n, (token, status)) in
        [(spent, 200), (logged_out, 200), (reused, 429), (live, 200)].iter().enumerate()
    {
        let address = format!("192.0.2.{n}");
        log_in_from(&app, &address, &email, PASSWORD).await.assert_status(429);
        let known = log_in_with_device(&app, &address, &email, PASSWORD, &token.refresh).await;
        known.assert_status(*status);
    }
}

#[tokio::test]
async fn a_known_device_has_a_limit_of_its_own() {
    let app = TestApp::with(under_attack).await;
    let (email, one) = signed_up_at_home(&app).await;
    let other = log_in_from(&app, HOME, &email, PASSWORD).await.tokens();
    exhaust_the_account_limit(&app, &email).await;
    let before = app.hashed();
    for n in 0..20 {
        let address = format!("192.0.2.{n}");
        let answer = log_in_with_device(&app, &address, &email, WRONG, &one.refresh).await;
        answer.assert_status(if n < 10 { 401 } else { 429 });
    }
    assert_eq!(app.hashed() - before, 20, "half of them compared with nothing");
    let refused = log_in_with_device(&app, ELSEWHERE, &email, PASSWORD, &one.refresh).await;
    refused.assert_problem(429, "too_many_failed_logins");
    let known = log_in_with_device(&app, ELSEWHERE, &email, PASSWORD, &other.refresh).await;
    known.assert_status(200);
}

#[tokio::test]
async fn a_known_address_has_a_limit_of_its_own() {
    let app = TestApp::with(under_attack).await;
    let (email, _) = signed_up_at_home(&app).await;
    exhaust_the_account_limit(&app, &email).await;
    for _ in 0..9 {
        log_in_from(&app, HOME, &email, WRONG).await.assert_status(429);
    }
    log_in_from(&app, HOME, &email, PASSWORD).await.assert_status(200);
    let before = app.hashed();
    for n in 0..10 {
        log_in_from(&app, HOME, &email, WRONG).await.assert_status(429);
        assert_eq!(app.hashed() - before, 1, "{n}: it has ten wrong ones, and that was the last");
    }
    log_in_from(&app, HOME, &email, PASSWORD).await.assert_status(429);
}
