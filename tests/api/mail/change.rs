//! Change of the address of an account.

use diesel::prelude::*;
use doorward::database::schema::{audit_events, mail_requests};
use serde_json::json;

use super::{NEW_PASSWORD, assert_no_traces};
use crate::support::mailbox::{request_of, with_mail};
use crate::support::{Answer, PASSWORD, TestApp, User, id};

const NEW: &str = "grace@example.org";

/// In microseconds.
const DAY: i64 = 24 * 60 * 60 * 1_000_000;

pub(super) async fn ask(user: &User<'_>, email: &str, password: &str) -> Answer {
    ask_from("127.0.0.1", user, email, password).await
}

async fn ask_from(network: &str, user: &User<'_>, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "current_password": password });
    let call = user.app.post("/me/email").bearer(&user.tokens.access).json(&body);
    call.header("x-forwarded-for", network).send().await
}

async fn confirm(app: &TestApp, access: &str, request: &str, code: &str) -> Answer {
    let body = json!({ "request": request, "code": code });
    app.post("/me/email/confirm").bearer(access).json(&body).send().await
}

/// Proves the present address.
async fn prove(user: &User<'_>) {
    let request = request_of(ask(user, &user.email, PASSWORD).await);
    let code = user.app.message_to(&user.email).await.code();
    confirm(user.app, &user.tokens.access, &request, &code).await.assert_status(204);
    user.app.clear_outbox().await;
}

#[tokio::test]
async fn the_new_address_is_proven_and_the_old_one_notified() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    prove(&user).await;
    assert_eq!(user.me().await.body["email_verified"], true);
    let elsewhere = user.another_session().await;
    app.clear_outbox().await;

    ask(&user, NEW, "not the password").await.assert_problem(403, "wrong_password");
    assert!(app.messages().await.is_empty());
    let request = request_of(ask(&user, NEW, PASSWORD).await);
    let code = app.message_to(NEW).await.code();
    assert_eq!(user.me().await.body["email"], user.email, "a request alone changes nothing");
    confirm(&app, &user.tokens.access, &request, "0000-0000")
        .await
        .assert_problem(400, "invalid_link");
    confirm(&app, &user.tokens.access, &request, &code).await.assert_status(204);
    let me = user.me().await.assert_status(200);
    assert_eq!((&me.body["email"], &me.body["email_verified"]), (&json!(NEW), &json!(true)));
    app.refresh(&elsewhere.refresh).await.assert_ended("email_changed");
    app.log_in(&user.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    app.log_in(NEW, PASSWORD).await.assert_status(200);
    let told = app.message_to(&user.email).await;
    assert!(told.subject.contains("was changed"), "{told:?}");
    assert!(!told.text.contains(NEW) && !told.text.contains("dwm_"), "{told:?}");
    let again = confirm(&app, &user.tokens.access, &request, &code).await;
    again.assert_problem(400, "invalid_link");
}

#[tokio::test]
async fn an_unproven_old_address_is_not_notified() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    let request = request_of(ask(&user, NEW, PASSWORD).await);
    let code = app.message_to(NEW).await.code();
    confirm(&app, &user.tokens.access, &request, &code).await.assert_status(204);
    assert!(app.messages_to(&user.email).await.is_empty());
}

#[tokio::test]
async fn a_request_does_not_tell_that_an_address_is_taken() {
    let app = with_mail().await;
    let owner = app.signed_up().await;
    let user = app.signed_up().await;
    let taken = ask(&user, &owner.email, PASSWORD).await;
    let free = ask(&user, NEW, PASSWORD).await;
    assert_eq!(taken.status, free.status);
    assert_eq!(taken.text.len(), free.text.len());
    let request = request_of(taken);
    let message = app.message_to(&owner.email).await;
    assert!(message.subject.contains("You have an account"), "{message:?}");
    for _ in 0..6 {
        confirm(&app, &user.tokens.access, &request, "0000-0000")
            .await
            .assert_problem(400, "invalid_link");
    }
    app.log_in(&owner.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn the_owner_of_a_taken_address_is_told_after_a_change_of_password() {
    let app = with_mail().await;
    let mut owner = app.signed_up().await;
    owner.tokens = owner.change_password(PASSWORD, NEW_PASSWORD).await.tokens();
    let user = app.signed_up().await;
    ask(&user, &owner.email, PASSWORD).await.assert_status(202);
    let message = app.message_to(&owner.email).await;
    assert!(message.subject.contains("You have an account"), "{message:?}");
}

#[tokio::test]
async fn an_address_that_was_taken_meanwhile_stays_its_owners() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    let request = request_of(ask(&user, NEW, PASSWORD).await);
    let code = app.message_to(NEW).await.code();
    app.register(NEW, PASSWORD).await.assert_status(201);
    confirm(&app, &user.tokens.access, &request, &code).await.assert_problem(400, "invalid_link");
    assert_eq!(user.me().await.body["email"], user.email);
}

#[tokio::test]
async fn a_change_belongs_to_its_account_and_ends_with_its_password() {
    let app = with_mail().await;
    let (user, other) = (app.signed_up().await, app.signed_up().await);
    let request = request_of(ask(&user, NEW, PASSWORD).await);
    let code = app.message_to(NEW).await.code();
    let stolen = confirm(&app, &other.tokens.access, &request, &code).await;
    stolen.assert_problem(400, "invalid_link");
    let tokens = user.change_password(PASSWORD, NEW_PASSWORD).await.tokens();
    confirm(&app, &tokens.access, &request, &code).await.assert_problem(400, "invalid_link");
}

#[tokio::test]
async fn a_reset_ends_a_pending_change_of_the_address() {
    let app = with_mail().await;
    let stranger = app.signed_up().await;
    let request = request_of(ask(&stranger, NEW, PASSWORD).await);
    let code = app.message_to(NEW).await.code();
    app.forgot(&stranger.email).await;
    let link = app.message_to(&stranger.email).await.token();
    let tokens = app.reset_by_link(&link, NEW_PASSWORD).await.tokens();
    confirm(&app, &tokens.access, &request, &code).await.assert_problem(400, "invalid_link");
}

#[tokio::test]
async fn a_reset_mailed_to_the_old_address_is_not_valid_after_a_change() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    let link = app.message_to(&user.email).await.token();
    let request = request_of(ask(&user, NEW, PASSWORD).await);
    let code = app.message_to(NEW).await.code();
    confirm(&app, &user.tokens.access, &request, &code).await.assert_status(204);
    let reset = app.reset_by_link(&link, NEW_PASSWORD).await;
    reset.assert_problem(400, "invalid_link");
}

#[tokio::test]
async fn a_client_cannot_set_the_flag_and_closing_an_account_ends_its_requests() {
    let app = with_mail().await;
    for member in ["email_verified", "email_verified_at", "verified"] {
        let body = json!({ "email": "a@example.com", "password": PASSWORD, member: true });
        let answer = app.post("/register").json(&body).send().await;
        answer.assert_problem(400, "malformed_request");
    }
    let user = app.signed_up().await;
    assert_eq!(user.me().await.body["email_verified"], false);
    app.forgot(&user.email).await;
    let link = app.message_to(&user.email).await.token();
    user.close(PASSWORD).await.assert_status(204);
    app.reset_by_link(&link, NEW_PASSWORD).await.assert_problem(400, "invalid_link");
    assert_no_traces(&app).await;
}

/// The events about mail that a user sees, with their details.
async fn mail_events(user: &User<'_>) -> Vec<(String, String)> {
    let seen = user.app.get("/me/activity").bearer(&user.tokens.access).send().await;
    let events = seen.assert_status(200).body["events"].as_array().unwrap().clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let events = events.iter().map(|it| (text(&it["event"]), text(&it["detail"])));
    events.filter(|(event, _)| event.starts_with("mail_")).collect()
}

#[tokio::test]
async fn the_requester_does_not_learn_from_events_whether_an_address_has_an_account() {
    let app = with_mail().await;
    let (owner, disabled) = (app.signed_up().await, app.signed_up().await);
    app.admin().disable(id(&disabled.id)).await.unwrap();
    let (unknown, network) = ("nobody@example.org", "198.51.100.7");
    for is_over_limit in [false, true] {
        for address in [&owner.email, &disabled.email, unknown] {
            let requester = app.signed_up().await;
            for _ in 0..if is_over_limit { 3 } else { 0 } {
                app.forgot_from(network, address).await;
            }
            app.until_mail_is_sent().await;
            request_of(ask_from(network, &requester, address, PASSWORD).await);
            app.until_mail_is_sent().await;
            let expected = (String::from("mail_requested"), String::from("email_code"));
            assert_eq!(mail_events(&requester).await, [expected], "{address} {is_over_limit}");
        }
    }
    let seen = app.log_in(&owner.email, PASSWORD).await.tokens();
    let owner = User { tokens: seen, ..owner };
    let of_owner = mail_events(&owner).await;
    let event = |event: &str, detail: &str| (event.to_owned(), detail.to_owned());
    assert!(of_owner.contains(&event("mail_requested", "account_exists")), "{of_owner:?}");
    assert!(of_owner.contains(&event("mail_limited", "account_exists")), "{of_owner:?}");
}

#[tokio::test]
async fn the_requester_does_not_learn_from_events_whether_a_message_failed() {
    let app = with_mail().await;
    let requester = app.signed_up().await;
    request_of(ask(&requester, NEW, PASSWORD).await);
    app.until_mail_is_sent().await;
    // A day has passed without an attempt.
    app.db()
        .write(|tx| {
            let waiting = (
                mail_requests::created_at.eq(mail_requests::created_at - DAY),
                mail_requests::next_send_at.eq(0_i64),
                mail_requests::leased_until.eq(None::<i64>),
                mail_requests::outcome.eq(None::<String>),
            );
            diesel::update(mail_requests::table).set(waiting).execute(tx.connection())
        })
        .await
        .unwrap();
    app.until_mail_is_sent().await;
    let failed = app.db().read(|c| {
        let failed = audit_events::table.filter(audit_events::event.eq("mail_failed"));
        failed.select(audit_events::user_id).load::<Option<doorward::database::Id>>(c)
    });
    assert_eq!(failed.await.unwrap(), [None], "operators see it, without the account");
}
