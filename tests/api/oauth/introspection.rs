//! Introspection (RFC 7662).

use std::time::Duration;

use serde_json::json;

use crate::support::app::ISSUER;
use crate::support::client::Call;
use crate::support::{TestApp, User, claims, id};

use super::{assert_active, assert_inactive, form};

/// A way to end a session.
type End = fn(&User<'_>) -> Call;

#[tokio::test]
async fn an_access_token_is_described_by_its_own_claims() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let service = app.service(&[]).await;
    let known = assert_active(&app, &service, &user.tokens.access).await;
    let mut expected = claims(&user.tokens.access);
    expected["active"] = json!(true);
    expected["token_type"] = json!("Bearer");
    assert_eq!(known, expected);
    let shop = app.public_client().await;
    let tokens = app.log_in_to(&shop, &user.email).await.tokens();
    assert_eq!(assert_active(&app, &service, &tokens.access).await["client_id"], shop.id);
    for hint in ["access_token", "refresh_token", "urn:other"] {
        let hinted = [("token", user.tokens.access.as_str()), ("token_type_hint", hint)];
        let answer = form(&app, "/introspect", &hinted).client(&service).send().await;
        assert_eq!(answer.body["active"], true, "{hint}");
    }
}

#[tokio::test]
async fn a_refresh_token_is_active_as_long_as_a_refresh_would_accept_it() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let service = app.service(&[]).await;
    let first = user.tokens.refresh.clone();
    let known = assert_active(&app, &service, &first).await;
    let began = claims(&user.tokens.access)["iat"].as_i64().unwrap();
    let expected = json!({
        "active": true, "iss": ISSUER, "sub": user.id, "client_id": "doorward",
        "sid": user.tokens.session, "iat": began, "exp": began + 30 * 24 * 60 * 60,
    });
    assert_eq!(known, expected);

    user.refresh().await.assert_status(200);
    assert_active(&app, &service, &first).await;
    app.advance(60);
    // It would be forgiven once, if it were used.
    assert_active(&app, &service, &first).await;
    user.refresh().await.assert_status(200);
    app.advance(60);
    assert_inactive(app.introspect(&service, &first).await);
    // Introspection does not use it up.
    assert_active(&app, &service, &user.tokens.refresh).await;
    app.me(&user.tokens.access).await.assert_status(200);
}

#[tokio::test]
async fn inactive_tokens_reveal_nothing() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let user = app.signed_up().await;
    let (access, refresh) = (&user.tokens.access, &user.tokens.refresh);
    let mut tokens: Vec<String> = [
        "x",
        "dwr_",
        "dws_nothing",
        "a.b.c",
        "..",
        "eyJhbGciOiJub25lIn0.e30.",
        &service.secret,
        &user.tokens.session,
        &format!("{refresh}A"),
        &refresh[..refresh.len() - 1],
        &format!("{access}A"),
        &access[..access.len() - 4],
        &format!("Bearer {access}"),
        &"x".repeat(60_000),
    ]
    .map(str::to_owned)
    .to_vec();
    // From another issuer.
    let other = TestApp::with(|config| config.public_url = "http://other.test".into()).await;
    let stranger = other.signed_up().await;
    tokens.extend([stranger.tokens.access.clone(), stranger.tokens.refresh.clone()]);
    for token in tokens {
        assert_inactive(app.introspect(&service, &token).await);
    }

    let ends: [(&str, End); 3] = [
        ("logout", |user| user.app.post("/logout").bearer(&user.tokens.access)),
        ("ended from the list", |user| {
            let path = format!("/sessions/{}", user.tokens.session);
            user.app.call("DELETE", &path).bearer(&user.tokens.access)
        }),
        ("closed", |user| {
            let body = json!({ "password": crate::support::PASSWORD });
            user.app.post("/me/close").bearer(&user.tokens.access).json(&body)
        }),
    ];
    for (what, end) in ends {
        let user = app.signed_up().await;
        assert_active(&app, &service, &user.tokens.access).await;
        assert_active(&app, &service, &user.tokens.refresh).await;
        let ended = end(&user).send().await;
        assert!(ended.status < 300, "{what}: {}", ended.text);
        assert_inactive(app.introspect(&service, &user.tokens.access).await);
        assert_inactive(app.introspect(&service, &user.tokens.refresh).await);
    }

    let disabled = app.signed_up().await;
    app.api.account_admin.disable(id(&disabled.id)).await.unwrap();
    assert_inactive(app.introspect(&service, &disabled.tokens.access).await);
    assert_inactive(app.introspect(&service, &disabled.tokens.refresh).await);

    app.advance(600);
    assert_inactive(app.introspect(&service, access).await);
    assert_active(&app, &service, refresh).await;
    app.advance(31 * 24 * 60 * 60);
    assert_inactive(app.introspect(&service, refresh).await);
}

#[tokio::test]
async fn unknown_status_is_not_reported() {
    let app = TestApp::with(|config| config.revocations.max_staleness = Duration::ZERO).await;
    let user = app.signed_up().await;
    let service = app.service(&[]).await;
    let answer = app.introspect(&service, &user.tokens.access).await;
    let answer = answer.assert_oauth(503, "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some());
    // A token that needs no list can still be judged.
    assert_inactive(app.introspect(&service, "x").await);
    assert_active(&app, &service, &user.tokens.refresh).await;
}
