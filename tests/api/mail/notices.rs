//! Notices to the owner of an account.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::config::Verification;
use doorward::database::schema::sessions;
use doorward::mail::{MailPurpose, PurposeLabel};
use doorward::metrics::{Counter, Family};
use serde_json::json;

use super::NEW_PASSWORD;
use crate::support::mailbox::{Message, request_of, with_mail, with_mail_and};
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
async fn logins_count_as_earlier_ones_after_their_sessions_are_deleted() {
    let app = with_mail().await;
    let user = proven(&app).await;
    let deleted = app.db().write(|tx| diesel::delete(sessions::table).execute(tx.connection()));
    assert_eq!(deleted.await.unwrap(), 1);
    log_in_from(&app, "198.51.100.7", "Browser", &user.email).await;
    assert!(app.message_to(&user.email).await.subject.contains("login"));
}

#[tokio::test]
async fn a_message_that_cannot_be_rendered_waits_and_is_not_sent_empty() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "Subject: Code\n\n{{ code }}{% if 'broken' in email %}{{ nothing.at.all }}{% endif %}";
    fs::write(folder.path().join("registration.txt"), text).unwrap();
    let app = with_mail_and(|config| {
        config.accounts.verification = Verification::Required;
        config.email.templates = folder.path().to_owned();
    })
    .await;
    app.register("broken@example.com", PASSWORD).await.assert_status(202);
    app.register("ada@example.com", PASSWORD).await.assert_status(202);
    let label = PurposeLabel { purpose: MailPurpose::Registration };
    let counter = |family: &Family<PurposeLabel, Counter>| family.get_or_create(&label).get();
    let counters = app.api.accounts.mail().counters();
    until(async || counter(&counters.retried) == 1 && counter(&counters.sent) == 1).await;
    assert_eq!(counter(&counters.failed), 0);
    let outbox = fs::read_dir(app.config.data_dir.join("outbox")).unwrap();
    assert_eq!(outbox.count(), 1);
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

/// Uses a replaced refresh token of the user's session on another device.
async fn replay(app: &TestApp, user: &mut User<'_>, times: usize) {
    let stolen = user.tokens.refresh.clone();
    user.refresh().await.assert_status(200);
    for _ in 0..times {
        let call = app.post("/refresh").header("x-forwarded-for", "203.0.113.9");
        let call = call.header("user-agent", "Thief/1.0");
        call.json(&json!({ "refresh_token": stolen })).send().await.assert_status(200);
    }
}

#[tokio::test]
async fn the_owner_is_notified_of_a_replay_once_an_hour() {
    let app = with_mail().await;
    let mut user = proven(&app).await;
    replay(&app, &mut user, 3).await;
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

#[tokio::test]
async fn a_notice_of_a_replay_is_stored_after_a_failed_write() {
    let app = with_mail().await;
    let (mut ada, mut bea) = (proven(&app).await, proven(&app).await);
    let (to_ada, to_bea) = (ada.email.clone(), bea.email.clone());
    let notices = async |email: &str| app.messages_to(email).await.len();
    replay(&app, &mut ada, 1).await;
    until(async || notices(&to_ada).await == 1).await;

    // The next notice to Ada is not stored.
    execute(
        &app,
        "CREATE UNIQUE INDEX one_notice_each ON mail_requests (user_id) \
         WHERE message = 'refresh_replayed_elsewhere'",
    )
    .await;
    ada.tokens = ada.another_session().await;
    replay(&app, &mut ada, 1).await;
    replay(&app, &mut bea, 1).await;
    // Bea's waits behind it: when hers is sent, Ada's has failed.
    until(async || notices(&to_bea).await == 1).await;
    assert_eq!(notices(&to_ada).await, 1);

    execute(&app, "DROP INDEX one_notice_each").await;
    until(async || notices(&to_ada).await == 2).await;
    assert!(subjects(&app).await.iter().all(|subject| subject.contains("two devices")));
}

async fn execute(app: &TestApp, statement: &'static str) {
    let executed = app.db().write(move |tx| tx.connection().batch_execute(statement));
    executed.await.unwrap();
}
