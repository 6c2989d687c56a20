//! `refresh_token` at the token endpoint.

use crate::support::TestApp;
use crate::support::client::Call;

use super::form;

fn refresh_grant(app: &TestApp, token: &str) -> Call {
    form(app, "/token", &[("grant_type", "refresh_token"), ("refresh_token", token)])
}

#[tokio::test]
async fn a_refresh_grant_is_a_refresh() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let first = refresh_grant(&app, &user.tokens.refresh).send().await;
    for (name, value) in [("cache-control", "no-store"), ("pragma", "no-cache")] {
        assert_eq!(first.header(name), Some(value));
    }
    let first = first.tokens();
    assert_eq!(first.generation, 1);
    app.me(&first.access).await.assert_status(200);
    // A retry, by either endpoint, gets the same successor.
    let again = refresh_grant(&app, &user.tokens.refresh).send().await.tokens();
    assert_eq!(again.refresh, first.refresh);
    assert_eq!(app.refresh(&user.tokens.refresh).await.tokens().refresh, first.refresh);
    // After the window, with its key.
    app.advance(60);
    let key = "the-key-of-this-attempt";
    let with_key =
        async |token: &str| refresh_grant(&app, token).header("idempotency-key", key).send().await;
    let second = with_key(&first.refresh).await.tokens();
    app.advance(60);
    assert_eq!(with_key(&first.refresh).await.tokens().refresh, second.refresh);
    // And a theft is detected.
    let third = app.refresh(&second.refresh).await;
    assert_eq!(third.status, 200);
    let stolen = refresh_grant(&app, &user.tokens.refresh).send().await;
    let stolen = stolen.assert_oauth(400, "invalid_grant");
    assert!(stolen.body["error_description"].as_str().unwrap().contains("stolen"));
    assert!(stolen.header("www-authenticate").is_none());
    app.refresh(&second.refresh).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn a_refresh_grant_is_for_the_client_that_logged_in() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, other) = (app.public_client().await, app.public_client().await);
    let service = app.service(&["read"]).await;
    let tokens = app.log_in_to(&shop, &user.email).await.tokens();
    let token = tokens.refresh.as_str();
    let named = |client: &str| {
        let grant = [("grant_type", "refresh_token"), ("refresh_token", token)];
        form(&app, "/token", &[grant.as_slice(), &[("client_id", client)]].concat()).send()
    };
    refresh_grant(&app, token).send().await.assert_oauth(400, "invalid_grant");
    named("doorward").await.assert_oauth(400, "invalid_grant");
    named(&other.id).await.assert_oauth(400, "invalid_grant");
    let proven = refresh_grant(&app, token).client(&service).send().await;
    proven.assert_oauth(400, "invalid_grant");
    for unknown in ["nobody", &service.id, "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75"] {
        named(unknown).await.assert_oauth(400, "invalid_client");
    }
    app.me(&tokens.access).await.assert_status(200);
    assert_eq!(named(&shop.id).await.tokens().generation, 1);
}

#[tokio::test]
async fn a_refresh_grant_widens_no_scope_and_a_rejection_rotates_nothing() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let token = user.tokens.refresh.as_str();
    let grant = [("grant_type", "refresh_token"), ("refresh_token", token)];
    let with = |more: &[(&str, &str)]| form(&app, "/token", &[&grant, more].concat()).send();
    with(&[("scope", "admin")]).await.assert_oauth(400, "invalid_scope");
    with(&[("scope", "")]).await.assert_status(200);
    with(&[("audience", "other"), ("roles", "admin")]).await.assert_status(200);
    assert_eq!(app.refresh(token).await.tokens().generation, 1);
}

#[tokio::test]
async fn malformed_token_requests_get_oauth_errors() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let token = user.tokens.refresh.as_str();
    let media_type = "application/x-www-form-urlencoded";
    for (body, error) in [
        (String::new(), "invalid_request"),
        ("grant_type=".into(), "invalid_request"),
        ("grant_type=refresh_token".into(), "invalid_request"),
        ("grant_type=refresh_token&refresh_token=".into(), "invalid_request"),
        (
            format!("grant_type=refresh_token&refresh_token={token}&refresh_token={token}"),
            "invalid_request",
        ),
        (format!("grant_type=refresh_token&refresh_token={token}&x=1&x=1"), "invalid_request"),
        (
            format!("grant_type=refresh_token&grant_type=refresh_token&refresh_token={token}"),
            "invalid_request",
        ),
        (format!("grant_type=refresh_token&refresh_token={token}%00"), "invalid_request"),
        (format!("grant_type=refresh_token&refresh_token={token}%0d%0a"), "invalid_request"),
        (format!("grant_type=refresh_token&refresh_token={token}%ff"), "invalid_request"),
        (format!("grant_type=refresh_token&refresh_token={token}x"), "invalid_grant"),
        (format!("grant_type=refresh_token&refresh_token={}", user.tokens.access), "invalid_grant"),
        ("grant_type=password&username=a&password=b".into(), "unsupported_grant_type"),
        ("grant_type=authorization_code&code=x".into(), "unsupported_grant_type"),
        (format!("grant_type=Refresh_Token&refresh_token={token}"), "unsupported_grant_type"),
    ] {
        let answer = app.post("/token").body(media_type, body.clone()).send().await;
        let answer = answer.assert_oauth(400, error);
        assert!(!answer.text.contains(token), "{body}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("pragma"), Some("no-cache"));
    }
    assert_eq!(app.refresh(token).await.tokens().generation, 1);
}
