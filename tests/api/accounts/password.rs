//! The profile, and changes of the password.

use diesel::prelude::*;
use doorward::database::schema::users;
use serde_json::json;

use crate::support::{PASSWORD, TestApp, id};

use super::{NEW_PASSWORD, assert_invalid};

#[tokio::test]
async fn only_the_owner_reads_a_profile_and_it_contains_no_secret() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.signed_up().await, app.signed_up().await);
    set_roles(&app, &ada.id, "editor reviewer").await;
    let me = ada.me().await.assert_status(200);
    assert_eq!(me.body["id"], ada.id);
    assert_eq!(me.body["email"], ada.email);
    assert_eq!(me.body["roles"], json!(["editor", "reviewer"]));
    assert!(!me.text.contains("argon2"));
    assert_eq!(bob.me().await.assert_status(200).body["id"], bob.id);
    app.get("/me").send().await.assert_problem(401, "missing_token");
}

#[tokio::test]
async fn a_password_change_ends_every_session_and_returns_a_new_one() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let bystander = app.signed_up().await;
    let earlier_access = user.tokens.access.clone();
    user.refresh().await.assert_status(200);
    let other = user.another_session().await;

    app.advance(5);
    let new = user.change_password(PASSWORD, NEW_PASSWORD).await.tokens();

    for access in [&earlier_access, &user.tokens.access, &other.access] {
        app.me(access).await.assert_problem(401, "token_revoked");
    }
    for refresh in [&user.tokens.refresh, &other.refresh] {
        app.refresh(refresh).await.assert_ended("password_changed");
    }
    assert_eq!(new.generation, 0);
    let me = app.me(&new.access).await.assert_status(200);
    assert_eq!(me.body["password_changed_at"], app.moment(5));
    assert_eq!(me.body["created_at"], app.moment(0));
    assert_eq!(app.live_sessions(&user.id).await, [new.session.as_str()]);
    app.refresh(&new.refresh).await.assert_status(200);
    app.log_in(&user.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    app.log_in(&user.email, NEW_PASSWORD).await.assert_status(200);
    bystander.me().await.assert_status(200);

    let app = app.restart().await;
    for access in [&earlier_access, &other.access] {
        app.me(access).await.assert_problem(401, "token_revoked");
    }
    app.me(&new.access).await.assert_status(200);
}

#[tokio::test]
async fn a_wrong_current_password_changes_nothing() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let too_long = "x".repeat(1025);
    for wrong in ["", "not my password at all", NEW_PASSWORD, &too_long] {
        let answer = user.change_password(wrong, NEW_PASSWORD).await;
        let answer = answer.assert_problem(403, "wrong_password");
        assert_eq!(answer.body["errors"][0]["pointer"], "/current_password");
        // The client should not discard its token.
        assert_eq!(answer.header("www-authenticate"), None);
    }
    user.me().await.assert_status(200);
    user.refresh().await.assert_status(200);
    app.log_in(&user.email, NEW_PASSWORD).await.assert_status(401);
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_weak_new_password_changes_nothing() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let too_long = "seven otters juggle lanterns ".repeat(36);
    for weak in ["short", "passwordpassword1", &user.email, &too_long] {
        assert_invalid(user.change_password(PASSWORD, weak).await, "/new_password");
    }
    user.me().await.assert_status(200);
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn one_of_many_parallel_changes_of_a_password_wins() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let passwords: Vec<String> = (0..4).map(|n| format!("{NEW_PASSWORD} {n}")).collect();
    let answers = futures_util::future::join_all(
        passwords.iter().map(|new| user.change_password(PASSWORD, new)),
    )
    .await;
    let won: Vec<usize> = (0..4).filter(|n| answers[*n].status == 200).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    for (n, answer) in answers.iter().enumerate() {
        if n == won[0] {
            assert_eq!(app.live_sessions(&user.id).await, [answer.clone().tokens().session]);
        } else {
            assert!(matches!(answer.status, 401 | 403), "{answer:?}");
        }
        let status = if n == won[0] { 200 } else { 401 };
        app.log_in(&user.email, &passwords[n]).await.assert_status(status);
    }
}

async fn set_roles(app: &TestApp, user: &str, roles: &'static str) {
    let id = id(user);
    let changed = app.db().write(move |tx| {
        diesel::update(users::table.find(id)).set(users::roles.eq(roles)).execute(tx.connection())
    });
    assert_eq!(changed.await.unwrap(), 1);
}
