//! `accounts.require_second_factor`, and sessions from before it.

use doorward::config::{Config, RequireSecondFactor};
use serde_json::json;

use crate::support::totp::{Authenticator, codes_of, recovery_code, totp};
use crate::support::{PASSWORD, TestApp, until};

fn require_all(config: &mut Config) {
    config.accounts.require_second_factor = RequireSecondFactor::All;
}

async fn enrol_token(app: &TestApp, email: &str) -> String {
    let asked = app.log_in(email, PASSWORD).await;
    let asked = asked.assert_problem(403, "second_factor_setup_required");
    asked.body["enrol_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_account_without_a_factor_sets_one_up_before_its_first_session() {
    let app = TestApp::with(require_all).await;
    let registered = app.register("ada@example.com", PASSWORD).await.assert_status(201);
    let user = registered.body["id"].as_str().unwrap().to_owned();
    let token = enrol_token(&app, "ada@example.com").await;
    app.begin_totp(&token, "wrong", None).await.assert_problem(403, "wrong_password");
    let begun = app.begin_totp(&token, PASSWORD, None).await.assert_status(200);
    let authenticator = Authenticator::scan(&begun);
    let code = authenticator.code(&app);
    let confirmed = app.confirm_totp(&token, &code).await.assert_status(200);
    assert!(app.live_sessions(&user).await.is_empty(), "an enrolment is not a login");
    let codes = codes_of(&confirmed);
    app.log_in_with("ada@example.com", recovery_code(&codes[0])).await.assert_status(200);
    app.advance(30);
    let code = totp(&authenticator.code(&app));
    app.log_in_with("ada@example.com", code).await.assert_status(200);
    // The token was good for one enrolment.
    app.begin_totp(&token, PASSWORD, None).await.assert_problem(401, "invalid_token");
}

#[tokio::test]
async fn an_enrol_token_opens_nothing_but_the_enrolment() {
    let app = TestApp::with(require_all).await;
    app.register("ada@example.com", PASSWORD).await.assert_status(201);
    let token = enrol_token(&app, "ada@example.com").await;
    let proof = json!({ "current_password": PASSWORD });
    for (method, path) in [
        ("GET", "/me"),
        ("GET", "/verify"),
        ("GET", "/sessions"),
        ("GET", "/me/activity"),
        ("POST", "/me/totp/remove"),
        ("POST", "/me/recovery-codes"),
    ] {
        let call = app.call(method, path).bearer(&token);
        let call = if method == "POST" { call.json(&proof) } else { call };
        call.send().await.assert_problem(401, "invalid_token");
    }
    app.refresh(&token).await.assert_ended("unknown_token");
    app.log_in_factor(&token, &totp("123456")).await.assert_problem(401, "invalid_second_factor");
    app.reauthenticate(&token, None).await.assert_problem(401, "invalid_token");
    app.advance(600);
    app.begin_totp(&token, PASSWORD, None).await.assert_problem(401, "invalid_token");
}

#[tokio::test]
async fn the_requirement_may_concern_a_role_only() {
    let app = TestApp::with(|config: &mut Config| {
        config.accounts.require_second_factor = RequireSecondFactor::Roles(vec!["admin".into()]);
    })
    .await;
    let plain = app.signed_up().await;
    let admin = app.signed_up().await;
    app.grant(&admin.id, "admin");
    app.log_in(&plain.email, PASSWORD).await.assert_status(200);
    enrol_token(&app, &admin.email).await;
}

#[tokio::test]
async fn sessions_from_before_continue_until_the_operator_ends_them() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let (ada_tokens, ada_id) = (ada.log_in().await, ada.user.id.clone());
    let mut users = Vec::new();
    for role in [None, Some("admin")] {
        let user = app.signed_up().await;
        if let Some(role) = role {
            app.grant(&user.id, role);
        }
        users.push((user.id.clone(), app.log_in(&user.email, PASSWORD).await.tokens()));
    }
    let app = app.restart_with(require_all).await;
    let plain = app.refresh(&users[0].1.refresh).await.tokens();
    let run = |arguments: &[&str]| {
        let output = app.command(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = run(&["session", "end", "--without-factor", "--role", "admin"]);
    assert_eq!(said, "accounts: 1; sessions that ended: 2\n");
    app.refresh(&users[1].1.refresh).await.assert_ended("ended_by_operator");
    let said = run(&["session", "end", "--without-factor", "--json"]);
    assert_eq!(said, "{\"accounts\":1,\"sessions_ended\":2}\n");
    app.refresh(&plain.refresh).await.assert_ended("ended_by_operator");
    until(async || app.me(&plain.access).await.status == 401).await;
    assert!(!app.live_sessions(&ada_id).await.is_empty());
    app.me(&ada_tokens.access).await.assert_status(200);
}
