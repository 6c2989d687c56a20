//! Texts that explain errors to the authors of clients.

use serde_json::json;

use crate::support::{PASSWORD, TestApp};

#[tokio::test]
async fn a_byte_order_mark_is_named() {
    let app = TestApp::start().await;
    let body = json!({ "email": "ada@example.com", "password": PASSWORD }).to_string();
    let marked =
        app.post("/login").body("application/json", format!("\u{feff}{body}")).send().await;
    let marked = marked.assert_problem(400, "malformed_request");
    assert!(marked.text.contains("byte order mark"), "{}", marked.text);
}

#[tokio::test]
async fn a_byte_order_mark_before_a_form_is_named_too() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let form = format!("\u{feff}grant_type=refresh_token&refresh_token={}", user.tokens.refresh);
    let marked = app.post("/token").body("application/x-www-form-urlencoded", form).send().await;
    let marked = marked.assert_status(400);
    assert_eq!(marked.body["error"], "invalid_request");
    assert!(marked.text.contains("byte order mark"), "{}", marked.text);
}

#[tokio::test]
async fn a_token_without_its_scheme_gets_the_reason() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let basic = "Basic YTpi".to_owned();
    for (field, text) in [(&user.tokens.access, "has no scheme"), (&basic, "another scheme")] {
        for call in [app.get("/me"), app.post("/logout"), app.get("/verify")] {
            let refused = call.header("authorization", field).send().await;
            let refused = refused.assert_problem(401, "missing_token");
            assert!(refused.text.contains(text), "{}", refused.text);
            assert!(!refused.text.contains(field.as_str()), "it quotes nothing");
        }
    }
}

#[tokio::test]
async fn wrong_passwords_are_not_retried_by_a_client_alone() {
    let app = TestApp::with(|config| config.limits.failed_logins_per_address = 1).await;
    let user = app.signed_up().await;
    app.log_in(&user.email, "not the password").await.assert_problem(401, "invalid_credentials");
    let refused = app.log_in(&user.email, "not the password").await;
    let refused = refused.assert_problem(429, "too_many_failed_logins");
    assert!(refused.header("retry-after").is_some());
    assert!(refused.body.get("transient").is_none(), "{}", refused.text);
}
