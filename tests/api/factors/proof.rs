//! Changes of an account with a second factor: a stolen bearer and the password are not enough.

use serde_json::{Value, json};

use crate::support::mailbox::with_mail;
use crate::support::totp::{Enrolled, recovery_code, totp};
use crate::support::{Answer, PASSWORD, TestApp, claims};

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";

/// Every operation that changes factors, address, password or the account itself.
pub(super) const OPERATIONS: [&str; 6] =
    ["/me/totp", "/me/totp/remove", "/me/recovery-codes", "/me/password", "/me/email", "/me/close"];

/// An attempt with this bearer and the right password.
pub(super) async fn attempt(
    app: &TestApp,
    path: &str,
    token: &str,
    second_factor: Option<Value>,
) -> Answer {
    let mut body = match path {
        "/me/close" | "/me/reauthenticate" => json!({ "password": PASSWORD }),
        "/me/password" => json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD }),
        "/me/email" => json!({ "current_password": PASSWORD, "email": "thief@example.com" }),
        _ => json!({ "current_password": PASSWORD }),
    };
    body["second_factor"] = json!(second_factor);
    app.post(path).bearer(token).json(&body).send().await
}

/// A session of the account that has proven no factor, as a thief may have one.
pub(super) async fn stolen(app: &TestApp) -> (Enrolled<'_>, String) {
    let user = app.signed_up().await;
    let stolen = user.another_session().await.access;
    (app.enrolled_as(user).await, stolen)
}

#[tokio::test]
async fn a_stolen_bearer_and_the_password_change_nothing() {
    let app = with_mail().await;
    let (ada, stolen) = stolen(&app).await;
    let before = ada.user.me().await.body;
    for path in OPERATIONS {
        let refused = attempt(&app, path, &stolen, None).await;
        let refused = refused.assert_problem(403, "factor_proof_required");
        assert!(refused.body.get("errors").is_none(), "{path}: nothing was wrong");
        let wrong = totp(&ada.authenticator.wrong_code(&app));
        if path == "/me/totp" {
            // Each guess counts: one is enough here.
            let refused = attempt(&app, path, &stolen, Some(wrong)).await;
            let refused = refused.assert_problem(403, "factor_proof_required");
            assert_eq!(refused.body["errors"][0]["pointer"], "/second_factor");
        }
        let wrong = recovery_code("000000-000000-000000-000000");
        let refused = attempt(&app, path, &stolen, Some(wrong)).await;
        refused.assert_problem(403, "factor_proof_required");
    }
    app.confirm_totp(&stolen, "000000").await.assert_problem(422, "invalid_fields");
    assert_eq!(ada.user.me().await.body, before);
    assert!(app.messages_to("thief@example.com").await.is_empty());
    ada.log_in().await;
}

#[tokio::test]
async fn a_proof_of_the_password_alone_makes_no_session_fresh() {
    let app = TestApp::start().await;
    let (_ada, stolen) = stolen(&app).await;
    let answer = app.reauthenticate(&stolen, None).await.assert_status(200);
    let token = answer.body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(claims(&token)["amr"], json!(["pwd"]));
    for path in OPERATIONS.into_iter().filter(|path| *path != "/me/email") {
        attempt(&app, path, &token, None).await.assert_problem(403, "factor_proof_required");
    }
}

#[tokio::test]
async fn with_a_second_factor_each_change_is_made() {
    let app = with_mail().await;
    for path in OPERATIONS {
        let (ada, other) = stolen(&app).await;
        let code = totp(&ada.authenticator.code(&app));
        let done = attempt(&app, path, &other, Some(code)).await;
        assert!(done.status < 300, "{path}: {}", done.text);
        let (ada, other) = stolen(&app).await;
        let code = Some(recovery_code(&ada.recovery_codes[3]));
        let done = attempt(&app, path, &other, code).await;
        assert!(done.status < 300, "{path}: {}", done.text);
    }
}

#[tokio::test]
async fn a_code_that_a_change_has_used_is_used() {
    let app = TestApp::start().await;
    let (ada, other) = stolen(&app).await;
    let code = totp(&ada.authenticator.code(&app));
    let done = attempt(&app, "/me/password", &other, Some(code.clone())).await;
    let tokens = done.tokens();
    assert_eq!(claims(&tokens.access)["amr"], json!(["pwd", "otp", "mfa"]));
    let body = json!({ "email": ada.user.email, "password": NEW_PASSWORD, "second_factor": code });
    let again = app.post("/login").json(&body).send().await;
    again.assert_problem(401, "invalid_second_factor");
}

#[tokio::test]
async fn a_fresh_session_needs_no_second_proof_until_it_is_ten_minutes_old() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let tokens = ada.log_in().await;
    attempt(&app, "/me/recovery-codes", &tokens.access, None).await.assert_status(200);
    app.advance(599);
    attempt(&app, "/me/recovery-codes", &tokens.access, None).await.assert_status(200);
    app.advance(3);
    let mut tokens = app.refresh(&tokens.refresh).await.tokens();
    for path in OPERATIONS.into_iter().filter(|path| *path != "/me/email") {
        let refused = attempt(&app, path, &tokens.access, None).await;
        refused.assert_problem(403, "factor_proof_required");
    }
    // A second factor makes it fresh again.
    let code = totp(&ada.authenticator.code(&app));
    let answer = app.reauthenticate(&tokens.access, Some(code)).await.assert_status(200);
    tokens.access = answer.body["access_token"].as_str().unwrap().to_owned();
    let changed = attempt(&app, "/me/password", &tokens.access, None).await.tokens();
    assert_eq!(claims(&changed.access)["amr"], json!(["pwd", "otp", "mfa"]));
}
