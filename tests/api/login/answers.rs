//! Responses to a login, and rejections that are indistinguishable.

use crate::support::{PASSWORD, TestApp, id};

#[tokio::test]
async fn a_login_returns_tokens_that_caches_must_not_store() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let answer = app.log_in(&user.email, PASSWORD).await.assert_status(200);
    assert_eq!(answer.body["token_type"], "Bearer");
    assert_eq!(answer.body["expires_in"], 600);
    assert_eq!(answer.body["refresh_expires_in"], 30 * 86400);
    assert_eq!(answer.body["generation"], 0);
    assert_eq!(answer.body["retry_window"], 30);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let tokens = answer.tokens();
    assert!(tokens.access.len() < 450, "{} bytes", tokens.access.len());
    app.me(&tokens.access).await.assert_status(200);
}

#[tokio::test]
async fn an_address_logs_in_in_every_form() {
    let app = TestApp::start().await;
    app.register("Ada@Example.com", PASSWORD).await.assert_status(201);
    for email in ["ada@example.com", "ADA@EXAMPLE.COM", "\t Ada@example.com "] {
        app.log_in(email, PASSWORD).await.assert_status(200);
    }
}

#[tokio::test]
async fn rejections_are_indistinguishable_and_cost_one_hash_each() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let disabled = app.signed_up().await;
    assert!(app.api.account_admin.disable(id(&disabled.id)).await.unwrap().changed);
    let closed = app.signed_up().await;
    closed.close(PASSWORD).await.assert_status(204);

    let (just_too_long, far_too_long) = ("x".repeat(1025), "\u{e4}".repeat(5000));
    let unknown = "nobody@example.com";
    let cases = [
        ("wrong password", user.email.as_str(), "not my password at all"),
        ("empty password", &user.email, ""),
        ("over-long password", &user.email, &just_too_long),
        ("password far over the limit", &user.email, &far_too_long),
        ("over-long when composed", &user.email, &"\u{344}".repeat(257)),
        ("unknown address", unknown, PASSWORD),
        ("unknown address, over-long password", unknown, &far_too_long),
        ("no address", "nobody", PASSWORD),
        ("empty address", "", ""),
        ("disabled account", &disabled.email, PASSWORD),
        ("disabled account, wrong password", &disabled.email, "not my password at all"),
        ("disabled account, over-long password", &disabled.email, &just_too_long),
        ("closed account", &closed.email, PASSWORD),
    ];
    let mut first = None;
    for (case, email, password) in cases {
        let before = app.hashed();
        let answer = app.log_in(email, password).await;
        assert_eq!(app.hashed() - before, 1, "{case} costs one hash");
        let answer = answer.assert_problem(401, "invalid_credentials");
        let seen = answer.without_its_request();
        assert_eq!(seen, *first.get_or_insert_with(|| seen.clone()), "{case}");
    }
    let before = app.hashed();
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
    assert_eq!(app.hashed() - before, 1, "a successful login costs the same");
}
