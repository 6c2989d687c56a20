//! Closed and disabled accounts.

use diesel::prelude::*;
use doorward::database::schema::{sessions, users};
use serde_json::json;

use crate::support::{PASSWORD, TestApp, id};

use super::NEW_PASSWORD;

#[tokio::test]
async fn a_closed_account_is_rejected_at_once() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let earlier_access = user.tokens.access.clone();
    user.refresh().await.assert_status(200);
    let other = user.another_session().await;
    user.close(PASSWORD).await.assert_status(204);

    let tokens = user.tokens.clone();
    let check = async |app: &TestApp| {
        for access in [&earlier_access, &tokens.access, &other.access] {
            app.me(access).await.assert_problem(401, "token_revoked");
        }
        for refresh in [&tokens.refresh, &other.refresh] {
            app.refresh(refresh).await.assert_ended("account_closed");
        }
    };
    check(&app).await;
    let email = user.email.clone();
    app.log_in(&email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    let app = app.restart().await;
    check(&app).await;
    app.log_in(&email, PASSWORD).await.assert_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_closed_accounts_address_is_free_again_and_reveals_no_old_data() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    user.close(PASSWORD).await.assert_status(204);
    let account = app.register(&user.email, NEW_PASSWORD).await.assert_status(201);
    assert_ne!(account.body["id"], user.id);
    app.log_in(&user.email, PASSWORD).await.assert_status(401);
    let tokens = app.log_in(&user.email, NEW_PASSWORD).await.tokens();
    let list = app.get("/sessions").bearer(&tokens.access).send().await.assert_status(200);
    assert_eq!(list.body["sessions"].as_array().unwrap().len(), 1);
    app.refresh(&user.tokens.refresh).await.assert_ended("account_closed");

    // Twice: the row of each stays for a while, and they do not conflict.
    for _ in 0..2 {
        let tokens = app.log_in(&user.email, NEW_PASSWORD).await.tokens();
        let body = json!({ "password": NEW_PASSWORD });
        app.post("/me/close").bearer(&tokens.access).json(&body).send().await.assert_status(204);
        app.register(&user.email, NEW_PASSWORD).await.assert_status(201);
    }
}

#[tokio::test]
async fn closing_erases_personal_data() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let body = json!({ "email": user.email, "password": PASSWORD, "label": "Ada's phone" });
    app.post("/login").header("user-agent", "Ada/1.0").json(&body).send().await.tokens();
    user.close(PASSWORD).await.assert_status(204);

    let id = id(&user.id);
    let (account, devices) = app
        .db()
        .read(move |c| {
            let account: (String, String, String, String) = users::table
                .find(id)
                .select((users::email, users::email_key, users::password_hash, users::roles))
                .get_result(c)?;
            let devices: Vec<(Option<String>, Option<String>, Option<String>)> = sessions::table
                .filter(sessions::user_id.eq(id))
                .select((sessions::label, sessions::user_agent, sessions::address))
                .load(c)?;
            Ok((account, devices))
        })
        .await
        .unwrap();
    assert_eq!((account.0.as_str(), account.2.as_str(), account.3.as_str()), ("", "", ""));
    assert!(!account.1.contains(&user.email));
    assert_eq!(devices, [(None, None, None), (None, None, None)]);
}

#[tokio::test]
async fn a_wrong_password_closes_nothing() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let answer = user.close("not my password at all").await.assert_problem(403, "wrong_password");
    assert_eq!(answer.body["errors"][0]["pointer"], "/password");
    user.close(&"x".repeat(1025)).await.assert_problem(403, "wrong_password");
    user.me().await.assert_status(200);
    user.refresh().await.assert_status(200);
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn disabling_an_account_revokes_its_tokens_immediately() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let other = app.signed_up().await;
    assert!(app.api.account_admin.disable(id(&user.id)).await.unwrap().changed);
    assert!(
        !app.api.account_admin.disable(id(&user.id)).await.unwrap().changed,
        "it is disabled already"
    );
    user.me().await.assert_problem(401, "token_revoked");
    user.refresh().await.assert_ended("account_disabled");
    user.close(PASSWORD).await.assert_problem(401, "token_revoked");
    app.register(&user.email, PASSWORD).await.assert_problem(409, "email_taken");
    other.me().await.assert_status(200);
    let refresh = user.tokens.refresh.clone();
    let app = app.restart().await;
    app.refresh(&refresh).await.assert_ended("account_disabled");
}
