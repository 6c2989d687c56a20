//! Each kind of token is accepted at its own endpoints only.

use serde_json::json;

use crate::support::TestApp;
use crate::support::forger::Forger;

use super::refused;

#[tokio::test]
async fn each_kind_of_token_is_accepted_only_by_its_own_endpoint() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    refused(&app, "a refresh token", &user.tokens.refresh).await;
    let answer = app.refresh(&user.tokens.access).await.assert_ended("unknown_token");
    assert!(answer.header("www-authenticate").is_some());
    let forger = Forger::of(&user).await;
    let dressed = format!("dwr_{}", user.tokens.access);
    app.refresh(&dressed).await.assert_ended("unknown_token");
    refused(&app, "a prefix", &dressed).await;
    let as_device = json!({ "refresh_token": forger.sign(&forger.good) });
    app.post("/refresh").json(&as_device).send().await.assert_ended("unknown_token");
    user.me().await.assert_status(200);
}

#[tokio::test]
async fn without_a_bearer_token_the_challenge_names_no_error() {
    let app = TestApp::start().await;
    let calls = [
        app.get("/me"),
        app.get("/sessions"),
        app.get("/me").header("authorization", "Basic YTpi"),
        app.get("/me").header("authorization", "Token abc"),
        app.get("/me").header("authorization", ""),
    ];
    for call in calls {
        let answer = call.send().await.assert_problem(401, "missing_token");
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="doorward""#));
    }
}
