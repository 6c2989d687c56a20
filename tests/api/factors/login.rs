//! Logins with a second factor, in one request or two.

use serde_json::json;

use crate::support::mailbox::with_mail;
use crate::support::totp::{recovery_code, totp};
use crate::support::{PASSWORD, TestApp, claims};

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";

#[tokio::test]
async fn a_code_may_come_with_the_password_or_after_it() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let tokens = ada.log_in().await;
    assert_eq!(claims(&tokens.access)["amr"], json!(["pwd", "otp", "mfa"]));
    app.advance(30);
    let asked = app.log_in(&ada.user.email, PASSWORD).await;
    let asked = asked.assert_problem(401, "second_factor_required");
    assert_eq!(asked.body["factors"], json!(["totp", "recovery_code"]));
    let token = asked.body["factor_token"].as_str().unwrap();
    let wrong = totp(&ada.authenticator.wrong_code(&app));
    let refused = app.log_in_factor(token, &wrong).await;
    let refused = refused.assert_problem(401, "invalid_second_factor");
    assert_eq!(refused.body["errors"][0]["pointer"], "/totp");
    let code = totp(&ada.authenticator.code(&app));
    let tokens = app.log_in_factor(token, &code).await.tokens();
    app.me(&tokens.access).await.assert_status(200);
}

#[tokio::test]
async fn a_code_is_good_once_in_sequence() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let code = ada.authenticator.code(&app);
    app.log_in_with(&ada.user.email, totp(&code)).await.assert_status(200);
    let again = app.log_in_with(&ada.user.email, totp(&code)).await;
    let again = again.assert_problem(401, "invalid_second_factor");
    assert_eq!(again.body["errors"][0]["pointer"], "/second_factor");
    // An earlier one is not good any more either, and the next one is, a little early.
    let earlier = ada.authenticator.code_in(&app, -1);
    let refused = app.log_in_with(&ada.user.email, totp(&earlier)).await;
    refused.assert_problem(401, "invalid_second_factor");
    let next = ada.authenticator.code_in(&app, 1);
    app.log_in_with(&ada.user.email, totp(&next)).await.assert_status(200);
}

#[tokio::test]
async fn the_confirming_code_counts_as_used() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (authenticator, _) = app.enrol(&user.tokens.access).await;
    let code = authenticator.code(&app);
    let refused = app.log_in_with(&user.email, totp(&code)).await;
    refused.assert_problem(401, "invalid_second_factor");
}

#[tokio::test]
async fn each_recovery_code_is_good_once_and_its_use_is_mailed() {
    let app = with_mail().await;
    let ada = app.enrolled().await;
    for (used, code) in ada.recovery_codes.iter().enumerate() {
        app.clear_outbox().await;
        let sloppy = code.to_lowercase().replace('-', " ");
        let token = app.factor_token(&ada.user.email).await;
        let tokens = app.log_in_factor(&token, &recovery_code(&sloppy)).await.tokens();
        assert_eq!(claims(&tokens.access)["amr"], json!(["pwd", "mfa"]));
        assert_eq!(app.me(&tokens.access).await.body["recovery_codes_left"], 9 - used);
        let mail = app.messages_to(&ada.user.email).await;
        let notice = mail.iter().find(|mail| mail.text.contains("Recovery codes left"));
        let left = format!("Recovery codes left: {}.", 9 - used);
        assert!(notice.unwrap().text.contains(&left), "{mail:#?}");
        let refused = app.log_in_factor(&token, &recovery_code(code)).await;
        refused.assert_problem(401, "invalid_second_factor");
        // Unlike codes of the app, they have no limit.
        app.advance(3600);
    }
    let asked = app.log_in(&ada.user.email, PASSWORD).await;
    assert_eq!(asked.body["factors"], json!(["totp"]));
}

#[tokio::test]
async fn a_factor_token_opens_nothing_else() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let sessions = app.live_sessions(&ada.user.id).await;
    let token = app.factor_token(&ada.user.email).await;
    assert_eq!(app.live_sessions(&ada.user.id).await, sessions, "nothing is a session yet");
    app.me(&token).await.assert_problem(401, "invalid_token");
    app.get("/verify").bearer(&token).send().await.assert_problem(401, "invalid_token");
    app.get("/sessions").bearer(&token).send().await.assert_problem(401, "invalid_token");
    app.refresh(&token).await.assert_ended("unknown_token");
    app.begin_totp(&token, PASSWORD, None).await.assert_problem(401, "invalid_token");
    app.confirm_totp(&token, "000000").await.assert_problem(401, "invalid_token");
    let logged_out = app.post("/logout").json(&json!({ "refresh_token": token })).send().await;
    logged_out.assert_problem(401, "invalid_grant");
    let service = app.service(&[]).await;
    assert_eq!(app.introspect(&service, &token).await.body, json!({ "active": false }));
}

#[tokio::test]
async fn a_factor_token_ends_with_its_time_and_with_a_change_of_the_password() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let token = app.factor_token(&ada.user.email).await;
    app.advance(299);
    let late = app.factor_token(&ada.user.email).await;
    app.advance(1);
    let code = totp(&ada.authenticator.code(&app));
    let refused = app.log_in_factor(&token, &code).await;
    let refused = refused.assert_problem(401, "invalid_second_factor");
    assert_eq!(refused.body["errors"][0]["pointer"], "/factor_token");
    let body = json!({
        "current_password": PASSWORD, "new_password": NEW_PASSWORD, "second_factor": code,
    });
    let changed = app.post("/me/password").bearer(&ada.user.tokens.access).json(&body).send().await;
    changed.assert_status(200);
    let code = totp(&ada.authenticator.code_in(&app, 1));
    let refused = app.log_in_factor(&late, &code).await;
    let refused = refused.assert_problem(401, "invalid_second_factor");
    assert_eq!(refused.body["errors"][0]["pointer"], "/factor_token");
    for odd in ["", "dwf_", "dwf_AAAA", &ada.user.tokens.access, &late.replace("dwf_", "dwe_")] {
        app.log_in_factor(odd, &code).await.assert_problem(401, "invalid_second_factor");
    }
}

#[tokio::test]
async fn a_wrong_password_is_answered_alike_with_and_without_a_factor() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let plain = app.signed_up().await;
    let code = totp(&ada.authenticator.code(&app));
    let mut answers = Vec::new();
    for email in [&ada.user.email, &plain.email, "nobody@example.com"] {
        let body = json!({ "email": email, "password": "wrong", "second_factor": code });
        let answer = app.post("/login").json(&body).send().await;
        answers.push(answer.assert_problem(401, "invalid_credentials").without_its_request());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    // The code was not used by this.
    app.log_in_with(&ada.user.email, code).await.assert_status(200);
    // An account without a factor ignores one.
    app.log_in_with(&plain.email, totp("123456")).await.assert_status(200);
}

#[tokio::test]
async fn exactly_one_second_factor_is_accepted() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let token = app.factor_token(&ada.user.email).await;
    for odd in [json!({}), json!({ "totp": "1", "recovery_code": "2" })] {
        let answer = app.log_in_with(&ada.user.email, odd.clone()).await;
        answer.assert_problem(400, "malformed_request");
        app.log_in_factor(&token, &odd).await.assert_problem(400, "malformed_request");
    }
    let answer = app.log_in_with(&ada.user.email, json!({ "sms": "1" })).await;
    answer.assert_problem(400, "malformed_request");
}

#[tokio::test]
async fn the_second_request_keeps_client_label_and_transport_of_the_first() {
    let app = TestApp::with(|config| config.public_url = "https://doorward.test".into()).await;
    let ada = app.enrolled().await;
    let client = app.public_client().await;
    let body = json!({
        "email": ada.user.email, "password": PASSWORD, "client_id": client.id, "label": "Ada's page",
        "transport": "cookie",
    });
    let page = ("sec-fetch-site", "same-origin");
    let asked = app.post("/login").header(page.0, page.1).json(&body).send().await;
    let asked = asked.assert_problem(401, "second_factor_required");
    let mut body = totp(&ada.authenticator.code(&app));
    body["factor_token"] = asked.body["factor_token"].clone();
    let refused = app.post("/login/factor").json(&body).send().await;
    refused.assert_problem(403, "csrf_refused");
    let answer = app.post("/login/factor").header(page.0, page.1).json(&body).send().await;
    let answer = answer.assert_status(200);
    assert!(answer.body.get("access_token").is_none(), "{}", answer.text);
    assert!(answer.header("set-cookie").unwrap().starts_with("__Host-doorward-access="));
    let sessions = app.get("/sessions").bearer(&ada.user.tokens.access).send().await;
    let labels = sessions.body["sessions"].as_array().unwrap().iter();
    assert!(labels.clone().any(|session| session["label"] == "Ada's page"), "{}", sessions.text);
}
