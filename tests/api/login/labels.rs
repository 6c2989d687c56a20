//! Labels and known devices.

use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, TestApp};

#[tokio::test]
async fn a_label_is_stored_unchanged() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let longest = "\u{1f9a6}".repeat(100);
    for label in [json!("Ada's phone <b>"), json!(longest), json!(""), json!(null)] {
        let tokens = log_in_with(&app, &user.email, "label", &label).await.tokens();
        let list = app.get("/sessions").bearer(&tokens.access).send().await.assert_status(200);
        let sessions = list.body["sessions"].as_array().unwrap();
        let own = sessions.iter().find(|session| session["current"] == true).unwrap();
        assert_eq!(own["label"], label);
    }
}

#[tokio::test]
async fn an_invalid_label_is_rejected_before_the_password_is_compared() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let before = app.hashed();
    for label in ["x".repeat(101), "a\nb".into(), "a\u{7f}".into(), "\u{85}".into()] {
        let answer = log_in_with(&app, &user.email, "label", &json!(label)).await;
        let answer = answer.assert_problem(422, "invalid_fields");
        assert_eq!(answer.body["errors"][0]["pointer"], "/label");
    }
    for (name, value) in [("label", json!(7)), ("label", json!("nul\0")), ("scope", json!("all"))] {
        log_in_with(&app, &user.email, name, &value).await.assert_problem(400, "malformed_request");
    }
    assert_eq!(app.hashed(), before);
    assert_eq!(app.live_sessions(&user.id).await.len(), 1);
}

#[tokio::test]
async fn an_invalid_known_device_does_not_block_the_right_password() {
    let app = TestApp::start().await;
    let (user, other) = (app.signed_up().await, app.signed_up().await);
    for token in ["", "dwr_", "not a token", &other.tokens.refresh, &user.tokens.access] {
        log_in_with(&app, &user.email, "known_device", &json!(token)).await.assert_status(200);
    }
}

async fn log_in_with(app: &TestApp, email: &str, name: &str, value: &Value) -> Answer {
    let body = json!({ "email": email, "password": PASSWORD, name: value });
    app.post("/login").json(&body).send().await
}
