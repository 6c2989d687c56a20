//! The limit of sessions per account.

use futures_util::future::join_all;

use crate::support::{TestApp, Tokens};

use super::{cheap_hashes, generous};

#[tokio::test]
async fn sessions_beyond_the_limit_are_ended_in_order() {
    let app = TestApp::with(|config| config.sessions.max_per_user = 3).await;
    let mut user = app.signed_up().await;
    let log_in = async || {
        app.advance(1);
        user.another_session().await
    };
    let refresh = async |tokens: &Tokens| {
        app.advance(1);
        app.refresh(&tokens.refresh).await.tokens()
    };
    let (second, third) = (log_in().await, log_in().await);
    let third = refresh(&third).await;
    let second_again = refresh(&second).await;

    // The first was never refreshed, so it is ended first, and then the fourth, though it is the
    // newest.
    let fourth = log_in().await;
    let fifth = log_in().await;
    assert_evicted(&app, &fourth).await;
    app.me(&third.access).await.assert_status(200);
    let fifth = refresh(&fifth).await;

    // Each was refreshed: the third longest ago, although it is younger than the second.
    let sixth = log_in().await;
    assert_evicted(&app, &third).await;
    for tokens in [&second_again, &fifth, &sixth] {
        app.me(&tokens.access).await.assert_status(200);
    }
    let first = user.tokens.clone();
    assert_evicted(&app, &first).await;
    user.tokens = sixth;
    assert_eq!(app.live_sessions(&user.id).await.len(), 3);
}

#[tokio::test]
async fn parallel_logins_leave_as_many_sessions_as_are_allowed() {
    let app = TestApp::with(|config| {
        config.sessions.max_per_user = 5;
        cheap_hashes(config);
        generous(config);
    })
    .await;
    let user = app.signed_up().await;
    let logins = join_all((0..20).map(|_| user.another_session())).await;
    let live = app.live_sessions(&user.id).await;
    assert_eq!(live.len(), 5);
    for tokens in logins {
        if !live.contains(&tokens.session) {
            assert_evicted(&app, &tokens).await;
        }
    }
}

#[tokio::test]
async fn ended_and_expired_sessions_do_not_count_towards_the_maximum() {
    let app = TestApp::with(|config| config.sessions.max_per_user = 2).await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    user.log_out().await.assert_status(204);
    let third = user.another_session().await;
    for tokens in [&other, &third] {
        app.refresh(&tokens.refresh).await.assert_status(200);
    }
    app.advance(30 * 86400);
    user.another_session().await;
    user.another_session().await;
    app.refresh(&other.refresh).await.assert_ended("expired");
}

async fn assert_evicted(app: &TestApp, tokens: &Tokens) {
    app.me(&tokens.access).await.assert_problem(401, "token_revoked");
    app.refresh(&tokens.refresh).await.assert_ended("too_many_sessions");
}
