//! Headers and claims that are not those of an access token of this service.

use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::app::ISSUER;
use crate::support::forger::Forger;

use super::{assert_challenged, refused};

#[tokio::test]
async fn a_header_must_be_that_of_an_access_token() {
    let app = TestApp::start().await;
    let forger = Forger::of(&app.signed_up().await).await;
    let kid = forger.good.header()["kid"].clone();
    for (name, value) in [
        ("kid", json!("unknown")),
        ("kid", json!("")),
        ("kid", json!("../../../dev/null")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!("\0")),
        ("kid", json!(7)),
        ("kid", Value::Null),
        ("kid", json!([kid])),
        ("kid", json!({ "kid": kid })),
        ("typ", json!("JWT")),
        ("typ", json!("rt+jwt")),
        ("typ", json!("id+jwt")),
        ("typ", json!("dpop+jwt")),
        ("typ", json!("text/at+jwt")),
        ("typ", json!("")),
        ("typ", json!(1)),
        ("typ", Value::Null),
        ("alg", json!("RS256")),
        ("alg", json!("EdDSA")),
        ("alg", json!("ES384")),
        ("alg", json!(["ES256"])),
        ("alg", Value::Null),
        ("crit", json!(["exp"])),
        ("crit", json!(["unheard-of"])),
        ("crit", json!([])),
        ("crit", Value::Null),
        ("b64", json!(false)),
    ] {
        let what = format!("{name}: {value}");
        refused(&app, &what, &forger.with_header(name, value)).await;
    }
    for missing in ["kid", "typ", "alg"] {
        let token = forger.sign(&forger.good.without_header(missing));
        refused(&app, missing, &token).await;
    }
}

#[tokio::test]
async fn missing_mistyped_and_foreign_claims_are_rejected() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let forger = Forger::of(&user).await;
    let now = app.clock.now().unix_seconds();
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", json!(format!("{ISSUER}/"))),
        ("iss", json!(ISSUER.to_uppercase())),
        ("iss", json!([ISSUER])),
        ("iss", Value::Null),
        ("aud", json!("other")),
        ("aud", json!("")),
        ("aud", json!([])),
        ("aud", json!(["other", "doorward2"])),
        ("aud", json!(["doorward", 1])),
        ("aud", json!({ "doorward": 1 })),
        ("aud", Value::Null),
        ("exp", json!((now + 600).to_string())),
        ("exp", json!(1_800_000_600.5)),
        ("exp", json!(1.8e9 + 600.0)),
        ("exp", json!([now + 600])),
        ("exp", json!(true)),
        ("exp", json!(u64::MAX)),
        ("exp", Value::Null),
        ("iat", json!(now.to_string())),
        ("iat", json!(now + 3600)),
        ("iat", Value::Null),
        ("nbf", json!(now + 1)),
        ("nbf", json!((now - 1).to_string())),
        ("nbf", Value::Null),
        ("sub", json!(user.id.to_uppercase())),
        ("sub", json!(user.id.replace('-', ""))),
        ("sub", json!("admin")),
        ("sub", json!(1)),
        ("sub", Value::Null),
        ("sid", json!("")),
        ("sid", json!(7)),
        ("sid", Value::Null),
        ("jti", json!("short")),
        ("jti", json!(1)),
        ("jti", Value::Null),
        ("client_id", json!(1)),
        ("client_id", Value::Null),
        ("scope", json!(["a"])),
        ("scope", Value::Null),
        ("roles", json!("admin")),
        ("roles", json!([1])),
        ("cnf", json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })),
        ("cnf", Value::Null),
    ] {
        let what = format!("{name}: {value}");
        refused(&app, &what, &forger.with_claim(name, value)).await;
    }
    for missing in ["iss", "aud", "exp", "iat", "sub", "sid", "jti", "client_id"] {
        let token = forger.sign(&forger.good.without_claim(missing));
        refused(&app, missing, &token).await;
    }
    for old in [now, now - 1, 0, -1] {
        let answer = app.me(&forger.with_claim("exp", json!(old))).await;
        assert_challenged(&answer.assert_problem(401, "token_expired"), "expired");
    }
}

#[tokio::test]
async fn a_token_for_an_unknown_account_is_rejected() {
    let app = TestApp::start().await;
    let forger = Forger::of(&app.signed_up().await).await;
    let token = forger.with_claim("sub", json!("019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75"));
    assert_challenged(&app.me(&token).await.assert_status(401), "an unknown user");
}
