//! Idle and absolute timeouts, and strict mode.

use std::time::Duration;

use crate::support::TestApp;

use super::{KEY_1, KEY_2};

#[tokio::test]
async fn a_refresh_extends_the_session_up_to_its_absolute_end() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let mut token = user.tokens.refresh.clone();
    for _ in 0..4 {
        app.advance(20 * 86400);
        token = app.refresh(&token).await.tokens().refresh;
    }
    let answer = {
        app.advance(9 * 86400);
        app.refresh(&token).await.assert_status(200)
    };
    assert_eq!(answer.body["refresh_expires_in"], 86400);
    app.advance(86400);
    app.refresh(answer.body["refresh_token"].as_str().unwrap()).await.assert_ended("expired");
}

#[tokio::test]
async fn a_session_without_refreshes_expires() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    app.advance(30 * 86400);
    user.refresh().await.assert_ended("expired");
}

#[tokio::test]
async fn an_access_token_never_outlives_its_session() {
    let app =
        TestApp::with(|config| config.sessions.absolute_timeout = Duration::from_secs(900)).await;
    let mut user = app.signed_up().await;
    app.advance(600);
    let answer = user.refresh().await;
    assert_eq!(answer.body["expires_in"], 300);
    app.advance(300);
    user.me().await.assert_problem(401, "token_expired");
}

#[tokio::test]
async fn strict_mode_rotates_at_every_use_and_forgives_nothing() {
    let app = TestApp::with(|config| config.sessions.retry_window = Duration::ZERO).await;
    let user = app.signed_up().await;
    let one = app.refresh(&user.tokens.refresh).await.tokens();
    let two = app.refresh(&one.refresh).await.tokens();
    assert_eq!((one.generation, two.generation), (1, 2));
    app.refresh(&one.refresh).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn strict_mode_answers_a_retry_that_brings_its_key() {
    let app = TestApp::with(|config| config.sessions.retry_window = Duration::ZERO).await;
    let user = app.signed_up().await;
    let one = app.refresh_with_key(&user.tokens.refresh, KEY_1).await.tokens();
    let again = app.refresh_with_key(&user.tokens.refresh, KEY_1).await.tokens();
    assert_eq!(again.refresh, one.refresh);
    app.refresh_with_key(&user.tokens.refresh, KEY_2).await.assert_ended("refresh_token_reused");
}
