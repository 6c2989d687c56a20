//! Claims and lifetime of an access token.

use serde_json::json;

use crate::support::app::ISSUER;
use crate::support::jwt::Jwt;
use crate::support::{TestApp, claims};

use super::{jwks, names};

#[tokio::test]
async fn a_token_has_the_claims_of_rfc_9068_and_no_others() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let login = app.log_in(&user.email, crate::support::client::PASSWORD).await.assert_status(200);
    let token = Jwt::read(login.body["access_token"].as_str().unwrap());
    let (header, claims) = (token.header(), token.claims());
    assert_eq!(names(&header), ["alg", "kid", "typ"]);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("ES256")));
    assert_eq!(header["kid"], jwks(&app).await["keys"][0]["kid"]);
    assert_eq!(names(&claims), ["aud", "client_id", "exp", "iat", "iss", "jti", "sid", "sub"]);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(ISSUER), &json!("doorward")));
    assert_eq!(claims["sub"], user.id.as_str());
    assert_eq!(claims["sid"], login.body["session_id"]);
    assert_eq!(claims["iat"], app.clock.now().unix_seconds());
    assert_eq!(claims["exp"], app.clock.now().unix_seconds() + 600);
    assert_eq!(login.body["expires_in"], 600);
    assert!(!claims.to_string().contains(&user.email));
}

#[tokio::test]
async fn every_token_has_a_unique_jti_and_a_refresh_keeps_user_and_session() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let first = claims(&user.tokens.access);
    user.refresh().await.assert_status(200);
    let second = claims(&user.tokens.access);
    assert_ne!(first["jti"], second["jti"]);
    assert_eq!((&first["sub"], &first["sid"]), (&second["sub"], &second["sid"]));
    let other = claims(&user.another_session().await.access);
    assert_eq!(first["sub"], other["sub"]);
    assert_ne!(first["sid"], other["sid"]);
}

#[tokio::test]
async fn a_token_is_under_450_bytes_by_default() {
    let app = TestApp::with(|config| config.public_url.clear()).await;
    let user = app.signed_up().await;
    let issuer = claims(&user.tokens.access)["iss"].as_str().unwrap().to_owned();
    assert_eq!(issuer, format!("http://{}", app.address));
    // A port of five digits, regardless of the actual one.
    let padded = user.tokens.access.len() + 2 * ("http://127.0.0.1:65535".len() - issuer.len());
    assert!(padded < 450, "{padded} bytes");
    user.me().await.assert_status(200);
}

#[tokio::test]
async fn a_token_ends_at_the_second_of_its_exp() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    app.advance(599);
    user.me().await.assert_status(200);
    app.advance(1);
    let answer = user.me().await.assert_problem(401, "token_expired");
    assert!(answer.header("www-authenticate").unwrap().contains(r#"error="invalid_token""#));
}

#[tokio::test]
async fn a_configured_audience_and_lifetime_are_in_the_token() {
    let app = TestApp::with(|config| {
        config.audience = "https://api.example.com".into();
        config.tokens.lifetime = std::time::Duration::from_secs(120);
    })
    .await;
    let user = app.signed_up().await;
    let claims = claims(&user.tokens.access);
    assert_eq!(claims["aud"], "https://api.example.com");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 120);
    user.me().await.assert_status(200);
}
