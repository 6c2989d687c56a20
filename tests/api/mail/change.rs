//! Change of the address of an account.

use serde_json::json;

use super::{NEW_PASSWORD, assert_no_traces};
use crate::support::mailbox::{request_of, with_mail};
use crate::support::{Answer, PASSWORD, TestApp, User};

const NEW: &str = "grace@example.org";

pub(super) async fn ask(user: &User<'_>, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "current_password": password });
    user.app.post("/me/email").bearer(&user.tokens.access).json(&body).send().await
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
