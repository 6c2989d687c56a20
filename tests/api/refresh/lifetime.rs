//! Idle and absolute timeouts, and strict mode.

use std::time::Duration;

use doorward::clients::{ClientKind, ClientSettings};

use crate::oauth::form;
use crate::support::{PASSWORD, TestApp};

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
async fn every_answer_with_tokens_has_the_retry_window_of_its_client() {
    let app =
        TestApp::with(|config| config.sessions.retry_window = Duration::from_millis(6500)).await;
    let user = app.signed_up().await;
    let log_in = app.log_in(&user.email, PASSWORD).await;
    let refresh = app.refresh(&user.tokens.refresh).await;
    let token = [("grant_type", "refresh_token"), ("refresh_token", user.tokens.refresh.as_str())];
    let token = form(&app, "/token", &token).send().await;
    let change = user.change_password(PASSWORD, "nine herons borrow umbrellas").await;
    for answer in [log_in, refresh, token, change] {
        assert_eq!(answer.assert_status(200).body["retry_window"], 7, "rounded up");
    }

    let own =
        ClientSettings { retry_window: Some(Duration::from_secs(2)), ..ClientSettings::default() };
    let kind = ClientKind::Public { origins: Vec::new(), client_settings: own };
    let (client, user) = (app.client(kind).await, app.signed_up().await);
    let log_in = app.log_in_to(&client, &user.email).await;
    assert_eq!(log_in.body["retry_window"], 2);
    let refresh = app.refresh_as(&client, &log_in.tokens().refresh).await;
    assert_eq!(refresh.body["retry_window"], 2);
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
