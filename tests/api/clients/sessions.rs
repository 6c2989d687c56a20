//! A session belongs to the client that it was made for.

use serde_json::json;

use crate::support::client::PASSWORD;
use crate::support::{Client, TestApp, claims};

#[tokio::test]
async fn a_session_belongs_to_the_client_that_logged_in() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let shop = app.public_client().await;
    let tokens = app.log_in_to(&shop, &user.email).await.tokens();
    assert_eq!(claims(&tokens.access)["client_id"], shop.id);
    assert_eq!(claims(&user.tokens.access)["client_id"], "doorward");
    let next = app.refresh_as(&shop, &tokens.refresh).await.tokens();
    assert_eq!(claims(&next.access)["client_id"], shop.id);
    app.me(&next.access).await.assert_status(200);
}

#[tokio::test]
async fn a_refresh_token_used_by_another_client_is_refused_and_nothing_else_changes() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, other) = (app.public_client().await, app.public_client().await);
    let first = app.log_in_to(&shop, &user.email).await.tokens();
    let second = app.refresh_as(&shop, &first.refresh).await.tokens();
    let live = app.live_sessions(&user.id).await;
    // Far outside the window: for the right client the first token would be forgiven once, the
    // second a rotation.
    app.advance(300);
    for token in [&first.refresh, &second.refresh] {
        for _ in 0..3 {
            app.refresh(token).await.assert_ended("wrong_client");
            app.refresh_as(&other, token).await.assert_ended("wrong_client");
        }
    }
    // The other way round, too.
    app.refresh_as(&shop, &user.tokens.refresh).await.assert_ended("wrong_client");
    assert_eq!(app.live_sessions(&user.id).await, live);
    app.me(&second.access).await.assert_status(200);
    let third = app.refresh_as(&shop, &second.refresh).await.tokens();
    assert_eq!((third.generation, &third.session), (2, &first.session));
    let own = app.refresh(&user.tokens.refresh).await.tokens();
    assert_eq!(own.generation, 1);
}

#[tokio::test]
async fn an_unknown_or_confidential_client_cannot_log_in_or_refresh() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, service) = (app.public_client().await, app.service(&[]).await);
    let hashed = app.hashed();
    let nobody = [
        service.id.as_str(),
        "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75",
        &shop.id.to_uppercase(),
        &shop.id.replace('-', ""),
        &format!(" {}", shop.id),
        "Doorward",
        "",
        "*",
        "\u{e4}' OR 1=1 --",
    ];
    for client in nobody {
        let client = Client { id: client.to_owned(), secret: String::new() };
        let refused = app.log_in_to(&client, &user.email).await;
        refused.assert_problem(400, "unknown_client");
        let refused = app.refresh_as(&client, &user.tokens.refresh).await;
        let refused = refused.assert_problem(400, "unknown_client");
        assert_eq!(refused.body["error"], "invalid_client");
    }
    assert_eq!(app.hashed(), hashed, "no password was compared");
    assert_eq!(app.live_sessions(&user.id).await.len(), 1);
    let named = Client { id: "doorward".into(), secret: String::new() };
    app.log_in_to(&named, &user.email).await.assert_status(200);
    app.refresh_as(&named, &user.tokens.refresh).await.assert_status(200);
}

#[tokio::test]
async fn an_unknown_client_reveals_nothing_about_the_account() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let client = "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75";
    let mut answers = Vec::new();
    for (email, password) in
        [(user.email.as_str(), PASSWORD), (&user.email, "wrong"), ("nobody@example.com", "wrong")]
    {
        let body = json!({ "email": email, "password": password, "client_id": client });
        let mut answer = app.post("/login").json(&body).send().await;
        answer.body["request_id"].take();
        answers.push((answer.status, answer.body));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[tokio::test]
async fn a_password_change_keeps_the_client() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let shop = app.public_client().await;
    user.tokens = app.log_in_to(&shop, &user.email).await.tokens();
    let tokens = user.change_password(PASSWORD, "eight walnuts paint the harbour").await.tokens();
    assert_eq!(claims(&tokens.access)["client_id"], shop.id);
    app.refresh_as(&shop, &tokens.refresh).await.assert_status(200);
}
