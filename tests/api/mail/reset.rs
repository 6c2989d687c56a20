//! Reset of a password by a mailed link or code.

use futures_util::future::join_all;
use serde_json::json;

use super::{NEW_PASSWORD, OTHER_PASSWORD};
use crate::support::app::{CROWD, ISSUER};
use crate::support::mailbox::{race_resets, request_of, with_mail, with_mail_and};
use crate::support::{PASSWORD, TestApp};

#[tokio::test]
async fn a_link_sets_the_password_once_ends_every_session_and_logs_in() {
    let app = with_mail().await;
    let mut user = app.signed_up().await;
    app.forgot(&user.email).await;
    let message = app.message_to(&user.email).await;
    assert!(message.text.contains(&format!("{ISSUER}/reset#token=")));

    let tokens = app.reset_by_link(&message.token(), NEW_PASSWORD).await.tokens();
    let me = app.me(&tokens.access).await.assert_status(200);
    assert_eq!(me.body["email_verified"], true);
    user.me().await.assert_problem(401, "token_revoked");
    user.refresh().await.assert_ended("password_reset");
    app.log_in(&user.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    app.log_in(&user.email, NEW_PASSWORD).await.assert_status(200);
    app.reset_by_link(&message.token(), OTHER_PASSWORD).await.assert_problem(400, "invalid_link");
    app.log_in(&user.email, NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_code_is_valid_with_its_own_request_only() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    let request = app.forgot(&user.email).await;
    let code = app.message_to(&user.email).await.code();
    let strangers = app.forgot_from("198.51.100.9", &user.email).await;
    let strangers = request_of(strangers);
    app.until_mail_is_sent().await;
    app.reset_by_code(&strangers, &code, NEW_PASSWORD).await.assert_problem(400, "invalid_link");
    let sloppy = code.to_lowercase().replace('-', " ");
    app.reset_by_code(&request, &sloppy, NEW_PASSWORD).await.assert_status(200);
    app.reset_by_code(&request, &code, OTHER_PASSWORD).await.assert_problem(400, "invalid_link");
}

#[tokio::test]
async fn a_rejected_password_does_not_use_up_link_or_code() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    let request = app.forgot(&user.email).await;
    let message = app.message_to(&user.email).await;
    let overlong = "x".repeat(2000);
    for _ in 0..4 {
        for refused in ["short", user.email.as_str(), &overlong] {
            let answer = app.reset_by_link(&message.token(), refused).await;
            let answer = answer.assert_problem(422, "invalid_fields");
            assert_eq!(answer.body["errors"][0]["pointer"], "/password");
            let by_code = app.reset_by_code(&request, &message.code(), refused).await;
            by_code.assert_problem(422, "invalid_fields");
        }
    }
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
    app.reset_by_code(&request, &message.code(), NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn five_wrong_codes_end_the_code_but_not_the_link() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    let request = app.forgot(&user.email).await;
    let message = app.message_to(&user.email).await;
    // A burst counts as that many guesses.
    let guesses = (0..20).map(|n| {
        let code = format!("0000-00{n:02}");
        let (app, request) = (&app, &request);
        async move { app.reset_by_code(request, &code, NEW_PASSWORD).await }
    });
    for answer in join_all(guesses).await {
        answer.assert_problem(400, "invalid_link");
    }
    app.reset_by_code(&request, &message.code(), NEW_PASSWORD)
        .await
        .assert_problem(400, "invalid_link");
    app.reset_by_link(&message.token(), NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn of_twenty_concurrent_uses_one_succeeds() {
    let app = with_mail_and(|config| config.database.pool_size = CROWD).await;
    race_resets(&app, &app).await;
}

#[tokio::test]
async fn the_owner_of_an_address_takes_over_an_account_that_a_stranger_made() {
    let app = with_mail().await;
    let stranger = app.signed_up().await;
    app.forgot(&stranger.email).await;
    let link = app.message_to(&stranger.email).await.token();
    app.reset_by_link(&link, NEW_PASSWORD).await.assert_status(200);
    app.log_in(&stranger.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    stranger.me().await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn a_success_uses_up_every_reset_of_the_account() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    app.forgot(&user.email).await;
    let messages = app.messages_to(&user.email).await;
    assert_eq!(messages.len(), 2, "a further request ends no earlier one");
    app.reset_by_link(&messages[0].token(), NEW_PASSWORD).await.assert_status(200);
    app.reset_by_link(&messages[1].token(), OTHER_PASSWORD)
        .await
        .assert_problem(400, "invalid_link");
}

#[tokio::test]
async fn a_reset_lets_the_owner_in_while_strangers_guess() {
    let app = with_mail_and(|config| config.limits.failed_logins_per_account = 10).await;
    let user = app.signed_up().await;
    for n in 0..10 {
        let body = json!({ "email": user.email, "password": "a stranger's guess" });
        let from = format!("198.51.100.{n}");
        app.post("/login").header("x-forwarded-for", &from).json(&body).send().await;
    }
    app.log_in(&user.email, PASSWORD).await;
    app.forgot(&user.email).await;
    let token = app.message_to(&user.email).await.token();
    let tokens = app.reset_by_link(&token, NEW_PASSWORD).await.tokens();
    app.me(&tokens.access).await.assert_status(200);
}

#[tokio::test]
async fn without_mail_every_operation_is_email_off() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    app.forgot_from("192.0.2.1", &user.email).await.assert_problem(501, "email_off");
    app.reset_by_link("dwm_x", NEW_PASSWORD).await.assert_problem(501, "email_off");
    app.confirm("dwq_x", "0000-0000").await.assert_problem(501, "email_off");
    let body = json!({ "email": "new@example.com", "current_password": PASSWORD });
    let change = app.post("/me/email").bearer(&user.tokens.access).json(&body).send().await;
    change.assert_problem(501, "email_off");
    let body = json!({ "request": "dwq_x", "code": "x" });
    let confirm = app.post("/me/email/confirm").bearer(&user.tokens.access).json(&body);
    confirm.send().await.assert_problem(501, "email_off");
}
