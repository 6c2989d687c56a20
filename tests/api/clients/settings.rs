//! Client settings.

use std::time::Duration;

use doorward::clients::{ClientKind, ClientSettings};
use serde_json::json;

use crate::support::{Client, TestApp, claims, until};

use super::remove;

async fn app_with(app: &TestApp, client_settings: ClientSettings) -> Client {
    app.client(ClientKind::Public { origins: Vec::new(), client_settings }).await
}

#[tokio::test]
async fn an_apps_token_lifetime_can_only_shorten_the_general_one() {
    let app = TestApp::with(|config| config.tokens.lifetime = Duration::from_secs(86_400)).await;
    let lifetime = |seconds| ClientSettings {
        token_lifetime: Some(Duration::from_secs(seconds)),
        ..ClientSettings::default()
    };
    let short = app_with(&app, lifetime(60)).await;
    let long = app_with(&app, lifetime(80_000)).await;
    // The setting is lowered after the client was added.
    let app = app.restart_with(|config| config.tokens.lifetime = Duration::from_secs(600)).await;
    let user = app.signed_up().await;
    let body = app.log_in_to(&long, &user.email).await.assert_status(200).body;
    assert_eq!(body["expires_in"], 600);
    let answer = app.log_in_to(&short, &user.email).await;
    assert_eq!(answer.body["expires_in"], 60);
    let tokens = answer.tokens();
    let times = claims(&tokens.access);
    assert_eq!(times["exp"].as_i64().unwrap() - times["iat"].as_i64().unwrap(), 60);
    app.advance(59);
    app.me(&tokens.access).await.assert_status(200);
    app.advance(1);
    app.me(&tokens.access).await.assert_problem(401, "token_expired");
    app.me(&user.tokens.access).await.assert_status(200);
    let answer = app.refresh_as(&short, &tokens.refresh).await.assert_status(200);
    assert_eq!(answer.body["expires_in"], 60);
}

#[tokio::test]
async fn an_app_in_strict_mode_needs_its_key_for_a_retry_and_the_others_do_not() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let terms = ClientSettings { retry_window: Some(Duration::ZERO), ..ClientSettings::default() };
    let strict = app_with(&app, terms).await;
    let refresh = async |token: &str, key: &str| {
        let body = json!({ "refresh_token": token, "client_id": strict.id });
        app.post("/refresh").header("idempotency-key", key).json(&body).send().await
    };
    let first = app.log_in_to(&strict, &user.email).await.tokens();
    let key = "the-first-attempt";
    let second = refresh(&first.refresh, key).await.tokens();
    assert_eq!(refresh(&first.refresh, key).await.tokens().refresh, second.refresh);
    app.refresh_as(&strict, &first.refresh).await.assert_ended("refresh_token_reused");
    app.refresh_as(&strict, &second.refresh).await.assert_ended("refresh_token_reused");

    let next = app.refresh(&user.tokens.refresh).await.tokens();
    assert_eq!(app.refresh(&user.tokens.refresh).await.tokens().refresh, next.refresh);
}

#[tokio::test]
async fn the_origins_of_an_app_are_allowed_only_while_it_is_registered() {
    let app = TestApp::with(|config| config.cors.origins = vec!["https://a.example".into()]).await;
    let allowed = async |origin: &str| {
        let preflight = app
            .call("OPTIONS", "/login")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let answer = preflight.send().await;
        let permission = answer.header("access-control-allow-origin").map(str::to_owned);
        assert!(permission.as_deref().is_none_or(|it| it == origin), "{permission:?}");
        permission.is_some()
    };
    assert!(allowed("https://a.example").await && !allowed("https://b.example").await);
    let origins = vec!["https://b.example".into(), "http://localhost:5173".into()];
    let shop = app
        .client(ClientKind::Public { origins, client_settings: ClientSettings::default() })
        .await;
    until(async || allowed("https://b.example").await).await;
    assert!(allowed("http://localhost:5173").await && allowed("https://a.example").await);
    for foreign in ["https://b.example:444", "http://b.example", "https://B.example", "null"] {
        assert!(!allowed(foreign).await, "{foreign}");
    }
    let call = app.get("/me").header("origin", "https://b.example").send().await;
    assert_eq!(call.header("access-control-allow-origin"), Some("https://b.example"));
    remove(&app, &shop).await.unwrap();
    until(async || !allowed("https://b.example").await).await;
    assert!(allowed("https://a.example").await);
}
