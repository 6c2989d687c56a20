//! Forged tokens, malformed keys, and what a refresh leaves in the database.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::TestApp;

use super::{KEY_1, row_counts};

#[tokio::test]
async fn a_forged_or_damaged_token_is_refused_and_touches_nothing() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let good = user.tokens.refresh.clone();
    let swapped = if good.as_bytes()[30] == b'A' { "B" } else { "A" };
    let forged = [
        format!("{}{swapped}{}", &good[..30], &good[31..]),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        format!("{good}=="),
        good.replacen("dwr_", "dwx_", 1),
        user.tokens.access.clone(),
        String::new(),
        "dwr_".into(),
    ];
    for token in forged {
        app.refresh(&token).await.assert_ended("unknown_token");
    }
    user.refresh().await.assert_status(200);
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_works_across_a_restart() {
    let app = TestApp::start().await;
    let (token, lost) = {
        let user = app.signed_up().await;
        let lost = app.refresh_with_key(&user.tokens.refresh, KEY_1).await.tokens();
        (user.tokens.refresh, lost)
    };
    let app = app.restart().await;
    assert_eq!(app.refresh(&token).await.tokens().refresh, lost.refresh, "in the window");
    app.advance(3600);
    let app = app.restart().await;
    let again = app.refresh_with_key(&token, KEY_1).await.tokens();
    assert_eq!(again.refresh, lost.refresh, "with its key, later");
}

#[tokio::test]
async fn a_thousand_refreshes_leave_every_row_count_unchanged() {
    let app = TestApp::with(|config| {
        config.sessions.retry_window = Duration::ZERO;
        config.database.pool_size = 64;
    })
    .await;
    let mut users = Vec::new();
    for _ in 0..4 {
        users.push(app.signed_up().await);
    }
    let mut sessions = Vec::new();
    for user in &users {
        for _ in 0..16 {
            sessions.push(user.another_session().await.refresh);
        }
    }
    let before = row_counts(&app).await;
    let per_session = 1000 / sessions.len() + 1;
    join_all(sessions.into_iter().map(async |mut token| {
        for _ in 0..per_session {
            token = app.refresh(&token).await.tokens().refresh;
        }
    }))
    .await;
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn an_idempotency_key_of_the_wrong_size_is_an_error_and_costs_nothing() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    for key in ["short", &"k".repeat(256), "has a space inside it"] {
        let answer = app.refresh_with_key(&user.tokens.refresh, key).await;
        answer.assert_problem(400, "malformed_request");
    }
    assert_eq!(user.refresh().await.tokens().generation, 1);
}

#[tokio::test]
async fn a_session_that_refreshes_without_pause_is_slowed_down_and_kept() {
    let app = TestApp::with(|config| {
        config.limits.refresh_burst = 5;
        config.limits.refresh_per_minute = 1;
    })
    .await;
    let mut user = app.signed_up().await;
    let other = user.another_session().await;
    for _ in 0..5 {
        user.refresh().await.assert_status(200);
    }
    let refused = user.refresh().await.assert_problem(429, "rate_limited");
    assert_eq!(refused.body["transient"], json!(true));
    assert!(refused.header("retry-after").is_some());
    app.refresh(&other.refresh).await.assert_status(200);
    user.me().await.assert_status(200);
}
