//! Which sessions a logout ends, by which token.

use serde_json::json;

use crate::support::TestApp;

use super::{assert_lives, ended_sessions, log_out_by_token, with_few_sessions};

#[tokio::test]
async fn a_logout_ends_its_session_at_once_and_no_other() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let (other, stranger) = (user.another_session().await, app.signed_up().await);
    let earlier = user.tokens.clone();
    user.refresh().await.assert_status(200);
    let again = app.refresh(&earlier.refresh).await.tokens();
    user.log_out().await.assert_status(204);

    for access in [&earlier.access, &user.tokens.access, &again.access] {
        app.me(access).await.assert_problem(401, "token_revoked");
    }
    for refresh in [&earlier.refresh, &user.tokens.refresh] {
        app.refresh(refresh).await.assert_ended("logout");
    }
    app.me(&other.access).await.assert_status(200);
    app.refresh(&other.refresh).await.assert_status(200);
    stranger.me().await.assert_status(200);
}

#[tokio::test]
async fn the_scope_of_a_logout_is_one_session_the_others_or_all() {
    let app = TestApp::start().await;
    for (scope, this, others) in
        [("this", false, true), ("others", true, false), ("all", false, false)]
    {
        let user = app.signed_up().await;
        let others_tokens = [user.another_session().await, user.another_session().await];
        let stranger = app.signed_up().await;
        user.log_out_scope(scope).await.assert_status(204);
        assert_lives(&app, &user.tokens, this).await;
        for tokens in &others_tokens {
            assert_lives(&app, tokens, others).await;
        }
        assert_lives(&app, &stranger.tokens, true).await;
    }
    let user = app.signed_up().await;
    for scope in ["", "ALL", "everything", "this,others"] {
        user.log_out_scope(scope).await.assert_problem(400, "malformed_request");
    }
    let unknown = app.post("/logout?scope=this&all=1").bearer(&user.tokens.access);
    unknown.send().await.assert_problem(400, "malformed_request");
    user.me().await.assert_status(200);
}

#[tokio::test]
async fn a_refresh_token_alone_logs_its_session_out() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let other = user.another_session().await;
    log_out_by_token(&app, &user.tokens.refresh).await.assert_status(204);
    assert_lives(&app, &user.tokens, false).await;
    assert_lives(&app, &other, true).await;

    // By a token that was rotated long ago: its holder wants the session ended.
    let spent = other.refresh.clone();
    user.tokens = app.refresh(&spent).await.tokens();
    for _ in 0..3 {
        app.advance(31);
        user.refresh().await.assert_status(200);
    }
    log_out_by_token(&app, &spent).await.assert_status(204);
    assert_lives(&app, &user.tokens, false).await;
    user.refresh().await.assert_ended("logout");
}

#[tokio::test]
async fn a_refresh_token_logs_out_when_the_access_token_has_expired() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    app.advance(600);
    user.log_out().await.assert_problem(401, "token_expired");
    let body = json!({ "refresh_token": user.tokens.refresh });
    for scope in ["?scope=others", "?scope=all"] {
        let request = app.post(&format!("/logout{scope}")).bearer(&user.tokens.access);
        request.json(&body).send().await.assert_problem(401, "token_expired");
        let request = app.post(&format!("/logout{scope}")).json(&body);
        request.send().await.assert_problem(401, "missing_token");
    }
    assert_eq!(app.live_sessions(&user.id).await.len(), 1);
    let request = app.post("/logout?scope=this").bearer(&user.tokens.access);
    request.json(&body).send().await.assert_status(204);
    app.refresh(&user.tokens.refresh).await.assert_ended("logout");
}

#[tokio::test]
async fn credentials_of_two_sessions_end_neither() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    for scope in ["this", "others", "all"] {
        let request = app.post(&format!("/logout?scope={scope}")).bearer(&user.tokens.access);
        let both = request.json(&json!({ "refresh_token": other.refresh })).send().await;
        both.assert_problem(400, "multiple_credentials");
    }
    assert_lives(&app, &user.tokens, true).await;
    assert_lives(&app, &other, true).await;
    let request = app.post("/logout").bearer(&user.tokens.access);
    let one = request.json(&json!({ "refresh_token": user.tokens.refresh })).send().await;
    one.assert_status(204);
    assert_lives(&app, &user.tokens, false).await;
    assert_lives(&app, &other, true).await;
}

#[tokio::test]
async fn the_token_of_a_session_that_has_ended_is_a_success() {
    let app = with_few_sessions().await;
    for (reason, tokens) in ended_sessions(&app).await {
        for _ in 0..2 {
            log_out_by_token(&app, &tokens.refresh).await.assert_status(204);
        }
        // One that has expired is logged out by that.
        let reason = if reason == "expired" { "logout" } else { reason };
        app.refresh(&tokens.refresh).await.assert_ended(reason);
    }
}

#[tokio::test]
async fn a_forged_token_ends_nothing() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let good = user.tokens.refresh.clone();
    let swapped = if good.as_bytes()[20] == b'A' { "B" } else { "A" };
    let forged = format!("{}{swapped}{}", &good[..20], &good[21..]);
    for token in [&forged, &good[..good.len() - 1], "dwr_", "", &user.tokens.access] {
        let refused = log_out_by_token(&app, token).await.assert_problem(401, "invalid_grant");
        assert_eq!(refused.body["reason"], "unknown_token");
    }
    app.post("/logout").send().await.assert_problem(401, "missing_token");
    app.post("/logout").json(&json!({})).send().await.assert_problem(401, "missing_token");
    user.me().await.assert_status(200);
    user.refresh().await.assert_status(200);
}
