//! Tokens of a session that has ended.

use serde_json::Value;

use crate::support::TestApp;
use crate::support::jwt::Jwt;

use super::{ended_sessions, with_few_sessions};

#[tokio::test]
async fn every_reason_is_named_at_the_next_refresh_and_after_a_restart() {
    let app = with_few_sessions().await;
    let ended = ended_sessions(&app).await;
    let check = async |app: &TestApp| {
        let mut explanations = Vec::new();
        for (reason, tokens) in &ended {
            let refused = app.refresh(&tokens.refresh).await.assert_ended(reason);
            assert_eq!(refused.body["transient"], Value::Null, "it is final");
            explanations.push(refused.body["detail"].to_string());
            if *reason != "expired" {
                app.me(&tokens.access).await.assert_problem(401, "token_revoked");
            }
        }
        explanations.sort();
        explanations.dedup();
        assert_eq!(explanations.len(), ended.len(), "each reason has its own text");
    };
    check(&app).await;
    let app = app.restart().await;
    check(&app).await;
}

#[tokio::test]
async fn every_access_token_of_an_ended_session_is_refused_after_a_restart() {
    let app = TestApp::start().await;
    let (tokens, other) = {
        let mut user = app.signed_up().await;
        let mut tokens = vec![user.tokens.access.clone()];
        for _ in 0..3 {
            user.refresh().await.assert_status(200);
            tokens.push(user.tokens.access.clone());
            app.advance(31);
        }
        let other = user.another_session().await;
        user.log_out().await.assert_status(204);
        (tokens, other)
    };
    let app = app.restart().await;
    for access in &tokens {
        app.me(access).await.assert_problem(401, "token_revoked");
        for path in ["/sessions"] {
            app.get(path).bearer(access).send().await.assert_problem(401, "token_revoked");
        }
    }
    app.me(&other.access).await.assert_status(200);
}

#[tokio::test]
async fn a_repeated_logout_succeeds_only_for_an_ended_session() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    for _ in 0..2 {
        user.log_out().await.assert_status(204);
    }
    // It cannot end more than its own session.
    for scope in ["others", "all"] {
        user.log_out_scope(scope).await.assert_problem(401, "token_revoked");
    }
    app.me(&other.access).await.assert_status(200);
    let ended = app.signed_up().await;
    ended.log_out_scope("all").await.assert_status(204);
    ended.log_out().await.assert_status(204);

    // An access token revoked by itself has a live session, which a success would deny.
    let alone = app.signed_up().await;
    let revoked = app.post("/revoke").form(&[("token", &alone.tokens.access)]).send().await;
    revoked.assert_status(200);
    alone.log_out().await.assert_problem(401, "token_revoked");
    app.refresh(&alone.tokens.refresh).await.assert_status(200);
    let forged = Jwt::read(&user.tokens.access).with_signature([0; 3]).to_string();
    let forged = app.post("/logout").bearer(&forged).send().await;
    forged.assert_problem(401, "invalid_token");
}
