//! Notices to the owner of an account.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::NEW_PASSWORD;
use crate::support::mailbox::{Message, request_of, with_mail};
use crate::support::{PASSWORD, TestApp, User, until};

/// A user with a proven address and an empty mailbox.
async fn proven(app: &TestApp) -> User<'_> {
    let user = app.signed_up().await;
    let body = json!({ "email": user.email, "current_password": PASSWORD });
    let call = app.post("/me/email").bearer(&user.tokens.access).json(&body);
    let request = request_of(call.send().await);
    let body = json!({ "request": request, "code": app.message_to(&user.email).await.code() });
    let call = app.post("/me/email/confirm").bearer(&user.tokens.access).json(&body);
    call.send().await.assert_status(204);
    app.clear_outbox().await;
    user
}

async fn log_in_from(app: &TestApp, network: &str, program: &str, email: &str) {
    let body = json!({ "email": email, "password": PASSWORD });
    let call = app.post("/login").header("x-forwarded-for", network).header("user-agent", program);
    call.json(&body).send().await.assert_status(200);
}

async fn subjects(app: &TestApp) -> Vec<String> {
    app.messages().await.into_iter().map(|Message { subject, .. }| subject).collect()
}

#[tokio::test]
async fn the_owner_is_notified_of_every_new_password() {
    let app = with_mail().await;
    let user = proven(&app).await;
    user.change_password(PASSWORD, NEW_PASSWORD).await.assert_status(200);
    assert!(app.message_to(&user.email).await.subject.contains("password"));
    app.clear_outbox().await;
    app.forgot(&user.email).await;
    let link = app.message_to(&user.email).await.token();
    app.clear_outbox().await;
    app.reset_by_link(&link, PASSWORD).await.assert_status(200);
    let told = app.message_to(&user.email).await;
    assert!(told.subject.contains("was changed") && !told.text.contains("dwm_"), "{told:?}");

    app.clear_outbox().await;
    let file = app.config.data_dir.with_file_name("password");
    fs::write(&file, NEW_PASSWORD).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let file = file.to_str().unwrap();
    let arguments = ["user", "set-password", &user.email, "--password-file", file];
    let mut command = app.command(&arguments);
    let output = command.env("DOORWARD_EMAIL__URL", "file:").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The command's clock runs, and the service's stands still.
    app.advance(60);
    assert!(app.message_to(&user.email).await.subject.contains("was changed"));
}

#[tokio::test]
async fn the_owner_is_notified_of_logins_from_unknown_devices() {
    let app = with_mail().await;
    let user = proven(&app).await;
    user.another_session().await;
    assert!(app.messages().await.is_empty());
    log_in_from(&app, "198.51.100.7", "<b>Evil</b>\tBrowser", &user.email).await;
    let told = app.message_to(&user.email).await;
    assert!(told.text.contains("198.51.100.7"), "{told:?}");
    assert!(told.text.contains("&lt;b&gt;Evil"), "the page escapes values: {told:?}");
    assert!(!told.subject.contains("Evil"), "{told:?}");
    log_in_from(&app, "198.51.100.7", "Browser", &user.email).await;
    assert_eq!(app.messages().await.len(), 1, "the network is known now");
}

#[tokio::test]
async fn an_unproven_address_gets_no_notices() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    log_in_from(&app, "198.51.100.7", "Browser", &user.email).await;
    user.change_password(PASSWORD, NEW_PASSWORD).await.assert_status(200);
    assert!(app.messages().await.is_empty());
}

#[tokio::test]
async fn the_owner_is_notified_of_a_reused_refresh_token() {
    let app = with_mail().await;
    let mut user = proven(&app).await;
    let stolen = user.tokens.clone();
    for _ in 0..3 {
        app.advance(60);
        user.refresh().await.assert_status(200);
    }
    app.advance(60);
    app.refresh(&stolen.refresh).await.assert_ended("refresh_token_reused");
    assert!(app.message_to(&user.email).await.subject.contains("was ended"));
}

#[tokio::test]
async fn the_owner_is_notified_of_a_replay_once_an_hour() {
    let app = with_mail().await;
    let mut user = proven(&app).await;
    let stolen = user.tokens.refresh.clone();
    user.refresh().await.assert_status(200);
    for _ in 0..3 {
        let call = app.post("/refresh").header("x-forwarded-for", "203.0.113.9");
        let call = call.header("user-agent", "Thief/1.0");
        call.json(&json!({ "refresh_token": stolen })).send().await.assert_status(200);
    }
    until(async || !app.messages().await.is_empty()).await;
    assert_eq!(subjects(&app).await.len(), 1);
    assert!(subjects(&app).await[0].contains("two devices"));
}

#[tokio::test]
async fn notices_are_limited_except_those_about_the_password() {
    let app = with_mail().await;
    let user = proven(&app).await;
    for n in 0..14 {
        log_in_from(&app, &format!("198.51.100.{n}"), "Browser", &user.email).await;
    }
    assert_eq!(app.messages().await.len(), 10);
    user.change_password(PASSWORD, NEW_PASSWORD).await.assert_status(200);
    assert_eq!(app.messages().await.len(), 11);
    app.advance(60 * 60);
    let body = json!({ "email": user.email, "password": NEW_PASSWORD });
    let call = app.post("/login").header("x-forwarded-for", "198.51.100.99").json(&body);
    call.send().await.assert_status(200);
    assert_eq!(app.messages().await.len(), 12);
}
