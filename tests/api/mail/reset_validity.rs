//! When links and codes of a reset stop being valid, and requests that do not use them up.

use serde_json::json;

use super::{NEW_PASSWORD, OTHER_PASSWORD, assert_no_traces};
use crate::support::binary::printed;
use crate::support::mailbox::{with_mail, with_mail_and};
use crate::support::{PASSWORD, id};

#[tokio::test]
async fn links_and_codes_expire_after_the_hand_over() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    let request = app.forgot(&user.email).await;
    let message = app.message_to(&user.email).await;
    app.advance(10 * 60);
    app.reset_by_code(&request, &message.code(), NEW_PASSWORD)
        .await
        .assert_problem(400, "invalid_link");
    app.advance(50 * 60 - 1);
    app.reset_by_link(&message.token(), "short").await.assert_problem(422, "invalid_fields");
    app.advance(1);
    app.reset_by_link(&message.token(), NEW_PASSWORD).await.assert_problem(400, "invalid_link");
}

#[tokio::test]
async fn a_change_of_the_account_ends_earlier_links() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    let request = app.forgot(&user.email).await;
    let message = app.message_to(&user.email).await;
    user.change_password(PASSWORD, OTHER_PASSWORD).await.assert_status(200);
    app.reset_by_link(&message.token(), NEW_PASSWORD).await.assert_problem(400, "invalid_link");
    app.reset_by_code(&request, &message.code(), NEW_PASSWORD)
        .await
        .assert_problem(400, "invalid_link");
    app.log_in(&user.email, OTHER_PASSWORD).await.assert_status(200);

    // The same for an account that was disabled meanwhile.
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    let message = app.message_to(&user.email).await;
    app.api.account_admin.disable(id(&user.id)).await.unwrap();
    app.reset_by_link(&message.token(), NEW_PASSWORD).await.assert_problem(400, "invalid_link");
    app.clear_outbox().await;
    app.forgot_from("192.0.2.7", &user.email).await.assert_status(202);
    assert!(app.messages().await.is_empty(), "a disabled account gets no mail");
}

#[tokio::test]
async fn malformed_bodies_and_tokens_are_rejected_before_any_read() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    let request = app.forgot(&user.email).await;
    let message = app.message_to(&user.email).await;
    let (token, code) = (message.token(), message.code());
    for body in [
        json!({ "password": NEW_PASSWORD }),
        json!({ "token": token, "code": code, "password": NEW_PASSWORD }),
        json!({ "token": token, "request": request, "code": code, "password": NEW_PASSWORD }),
        json!({ "request": request, "password": NEW_PASSWORD }),
        json!({ "token": token, "password": NEW_PASSWORD, "email_verified": true }),
    ] {
        let answer = app.post("/password/reset").json(&body).send().await;
        answer.assert_problem(400, "malformed_request");
    }
    let statements = app.db().load().statements;
    for odd in ["", "dwm_", &token[..47], &token.replace("dwm_", "dwq_"), &request] {
        app.reset_by_link(odd, NEW_PASSWORD).await.assert_problem(400, "invalid_link");
    }
    // Background tasks only add to it.
    assert!(app.db().load().statements - statements < 10);
    let query = format!("/password/reset?token={token}");
    app.post(&query).json(&json!({})).send().await.assert_problem(400, "token_in_query");
    app.reset_by_link(&token, NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_reset_with_cookies_is_for_own_pages_only() {
    let app = with_mail_and(|config| config.public_url = "http://localhost".into()).await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    let token = app.message_to(&user.email).await.token();
    let body = json!({ "token": token, "password": NEW_PASSWORD, "transport": "cookie" });
    let foreign = app.post("/password/reset").header("origin", "https://evil.example");
    foreign.json(&body).send().await.assert_problem(403, "csrf_refused");
    let own = app.post("/password/reset").header("origin", "http://localhost");
    let answer = own.json(&body).send().await.assert_status(200);
    assert!(answer.header("set-cookie").is_some());
    assert!(answer.body.get("access_token").is_none(), "{}", answer.text);
}

#[tokio::test]
async fn an_unknown_client_does_not_use_up_a_link() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    let token = app.message_to(&user.email).await.token();
    let body = json!({ "token": token, "password": NEW_PASSWORD, "client_id": "nobody" });
    let answer = app.post("/password/reset").json(&body).send().await;
    answer.assert_problem(400, "unknown_client");
    app.reset_by_link(&token, NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_link_does_not_outlive_a_deleted_account_and_leaves_no_address() {
    let app = with_mail().await;
    let ada = "ada@example.com";
    // This request belongs to no account.
    app.forgot(ada).await;
    app.until_mail_is_sent().await;
    app.register(ada, PASSWORD).await.assert_status(201);
    app.forgot(ada).await;
    let link = app.message_to(ada).await.token();
    printed(&mut app.command(&["user", "delete", ada, "--yes"]));
    app.reset_by_link(&link, NEW_PASSWORD).await.assert_problem(400, "invalid_link");
    assert_no_traces(&app).await;
}
