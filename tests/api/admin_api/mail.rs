//! Addresses, invitations and resets, as a support desk requests them.

use doorward::audit::EventKind;
use doorward::config::Config;
use serde_json::{Value, json};

use crate::audit::stored;
use crate::support::client::PASSWORD;
use crate::support::mailbox::{request_of, with_mail_and};
use crate::support::{Answer, TestApp, User};

use super::{NOBODY, on_main_port, tag, text, token, token_of};

const ADA: &str = "ada@example.com";
const NEW_PASSWORD: &str = "nine herons borrow umbrellas";
const SCOPES: [&str; 2] = ["doorward:users.read", "doorward:users.write"];

async fn start() -> (TestApp, String) {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut Config)) -> (TestApp, String) {
    let app = with_mail_and(|config| {
        on_main_port(config);
        change(config);
    })
    .await;
    let desk = token(&app, &SCOPES).await;
    (app, desk)
}

async fn mail_reset(app: &TestApp, desk: &str, user: &str) -> Answer {
    app.post(&format!("/admin/users/{user}/password-reset")).bearer(desk).send().await
}

async fn change(app: &TestApp, desk: &str, user: &str, body: Value) -> Answer {
    let call = app.call("PATCH", &format!("/admin/users/{user}")).bearer(desk);
    call.header("if-match", "*").json(&body).send().await
}

/// Proves the address of an account.
async fn prove(app: &TestApp, user: &User<'_>) {
    let body = json!({ "email": user.email, "current_password": PASSWORD });
    let asked = app.post("/me/email").bearer(&user.tokens.access).json(&body).send().await;
    let request = request_of(asked);
    let code = app.message_to(&user.email).await.code();
    let body = json!({ "request": request, "code": code });
    let confirm = app.post("/me/email/confirm").bearer(&user.tokens.access).json(&body);
    confirm.send().await.assert_status(204);
    app.clear_outbox().await;
}

#[tokio::test]
async fn an_invited_account_gets_its_password_from_its_owner_only() {
    let (app, desk) = start().await;
    let new = json!({ "email": ADA, "invite": true, "roles": ["editor"] });
    let add = |body: &Value| app.post("/admin/users").bearer(&desk).json(body).send();
    let made = add(&new).await.assert_status(201);
    assert!(made.body["invited_until"].is_string() && made.body["email_verified"] == false);
    assert!(!made.text.contains("dwm_"), "the operator does not get the link: {}", made.text);
    let user = text(&made.body["id"]);
    let first = app.message_to(ADA).await.token();
    app.clear_outbox().await;
    mail_reset(&app, &desk, &user).await.assert_status(202);
    let again = app.message_to(ADA).await;
    assert!(again.subject.starts_with("Your account with "), "{}", again.subject);
    app.reset_by_link(&again.token(), NEW_PASSWORD).await.assert_status(200);
    app.reset_by_link(&first, PASSWORD).await.assert_problem(400, "invalid_link");
    let path = format!("/admin/users/{user}");
    let shown = app.get(&path).bearer(&desk).send().await.assert_status(200);
    assert_eq!(
        (&shown.body["invited_until"], &shown.body["email_verified"]),
        (&Value::Null, &json!(true))
    );
    assert_ne!(tag(&shown), tag(&made), "the owner's change moves the version");
    add(&new).await.assert_problem(409, "email_taken");
    for odd in [
        json!({ "email": "x@example.com", "invite": true, "password": PASSWORD }),
        json!({ "email": "x@example.com", "invite": true, "email_verified": true }),
        json!({ "email": "x@example.com", "invite": false }),
    ] {
        add(&odd).await.assert_problem(400, "malformed_request");
    }
}

#[tokio::test]
async fn operators_have_three_resets_an_hour_beside_those_of_strangers() {
    let (app, _) = start().await;
    let desk = app.service(&SCOPES).await;
    let token = token_of(&app, &desk).await;
    let ada = app.signed_up().await;
    // Strangers have used up theirs.
    for n in 0..13 {
        app.forgot_from(&format!("198.51.100.{n}"), &ada.email).await.assert_status(202);
    }
    app.clear_outbox().await;
    for _ in 0..3 {
        mail_reset(&app, &token, &ada.id).await.assert_status(202);
    }
    let fourth = mail_reset(&app, &token, &ada.id).await.assert_problem(429, "rate_limited");
    assert!(fourth.header("retry-after").is_some());
    let messages = app.messages_to(&ada.email).await;
    assert_eq!(messages.len(), 3);
    assert!(messages[0].text.contains("An operator of"), "{}", messages[0].text);
    ada.me().await.assert_status(200);
    app.reset_by_link(&messages[2].token(), NEW_PASSWORD).await.assert_status(200);
    ada.me().await.assert_problem(401, "token_revoked");
    app.reset_by_link(&messages[0].token(), PASSWORD).await.assert_problem(400, "invalid_link");
    let requested = stored(&app, EventKind::MailRequested).await;
    let by_desk = requested.iter().filter(|event| event.actor.as_deref() == Some(&*desk.id));
    assert_eq!(by_desk.count(), 3);
    app.advance(60 * 60);
    let token = token_of(&app, &desk).await;
    mail_reset(&app, &token, &ada.id).await.assert_status(202);
    mail_reset(&app, &token, NOBODY).await.assert_problem(404, "not_found");
    app.admin().disable(crate::support::id(&ada.id)).await.unwrap();
    mail_reset(&app, &token, &ada.id).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn another_reset_is_allowed_after_retry_after() {
    let (app, _) = start().await;
    let desk = app.service(&SCOPES).await;
    let ada = app.signed_up().await;
    for _ in 0..3 {
        let token = token_of(&app, &desk).await;
        mail_reset(&app, &token, &ada.id).await.assert_status(202);
        app.advance(15 * 60);
    }
    let token = token_of(&app, &desk).await;
    let fourth = mail_reset(&app, &token, &ada.id).await.assert_problem(429, "rate_limited");
    let retry_after: u64 = fourth.header("retry-after").unwrap().parse().unwrap();
    assert!((14 * 60..=15 * 60).contains(&retry_after), "{retry_after}");
    app.advance(retry_after);
    let token = token_of(&app, &desk).await;
    mail_reset(&app, &token, &ada.id).await.assert_status(202);
    mail_reset(&app, &token, &ada.id).await.assert_problem(429, "rate_limited");
}

#[tokio::test]
async fn a_mailed_link_outlives_changes_that_change_nothing() {
    let (app, desk) = start().await;
    let ada = app.signed_up().await;
    app.forgot(&ada.email).await;
    let link = app.message_to(&ada.email).await.token();
    change(&app, &desk, &ada.id, json!({})).await.assert_status(200);
    change(&app, &desk, &ada.id, json!({ "disabled": false })).await.assert_status(200);
    change(&app, &desk, &ada.id, json!({ "email_verified": true })).await.assert_status(200);
    app.reset_by_link(&link, NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn the_old_address_gets_the_notice_when_an_operator_changes_it() {
    let (app, desk) = start().await;
    let (ada, bea) = (app.signed_up().await, app.signed_up().await);
    prove(&app, &ada).await;
    let same = change(&app, &desk, &ada.id, json!({ "email": ada.email })).await;
    same.assert_status(200);
    ada.me().await.assert_status(200);
    let taken = json!({ "email": bea.email, "disabled": true });
    change(&app, &desk, &ada.id, taken).await.assert_problem(409, "email_taken");
    ada.me().await.assert_status(200);
    change(&app, &desk, &ada.id, json!({ "email": "x" }))
        .await
        .assert_problem(422, "invalid_fields");

    let changed = change(&app, &desk, &ada.id, json!({ "email": "new@example.com" })).await;
    let changed = changed.assert_status(200);
    assert_eq!(changed.body["email"], "new@example.com");
    assert_eq!(changed.body["email_verified"], false);
    ada.me().await.assert_problem(401, "token_revoked");
    app.refresh(&ada.tokens.refresh).await.assert_ended("email_changed");
    let notice = app.message_to(&ada.email).await;
    assert!(notice.subject.contains("address"), "{}", notice.subject);
    assert!(app.messages_to("new@example.com").await.is_empty());

    let verified = change(&app, &desk, &ada.id, json!({ "email_verified": true })).await;
    assert_eq!(verified.body["email_verified"], true);
    assert_ne!(tag(&verified), tag(&changed));
    let again = change(&app, &desk, &ada.id, json!({ "email_verified": true })).await;
    assert_eq!(tag(&again), tag(&verified), "nothing has changed");
    let undone = change(&app, &desk, &ada.id, json!({ "email_verified": false })).await;
    undone.assert_problem(422, "invalid_fields");
    let both = json!({ "email": "third@example.com", "email_verified": true });
    assert_eq!(change(&app, &desk, &ada.id, both).await.body["email_verified"], true);
}

#[tokio::test]
async fn without_mail_no_message_is_requested() {
    let app = super::start().await;
    let desk = token(&app, &SCOPES).await;
    let ada = app.signed_up().await;
    mail_reset(&app, &desk, &ada.id).await.assert_problem(501, "email_off");
    let new = json!({ "email": ADA, "invite": true });
    let answer = app.post("/admin/users").bearer(&desk).json(&new).send().await;
    answer.assert_problem(501, "email_off");
    let new = json!({ "email": ADA, "password": PASSWORD, "email_verified": true });
    let made = app.post("/admin/users").bearer(&desk).json(&new).send().await;
    assert_eq!(made.assert_status(201).body["email_verified"], true);
}
