//! Access tokens as others see them: the claims of a real one, verification with only the published
//! keys, and the rejection of everything else.

mod claims;
mod issued;
mod key_set;
mod kinds;
mod signatures;
mod spelling;

use doorward::tokens::Algorithm;
use serde_json::Value;

use crate::support::jwt::decode;
use crate::support::{Answer, TestApp};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];

/// Every resource that needs an access token rejects this one, with the challenge of RFC 6750 3.
#[track_caller]
fn assert_challenged(answer: &Answer, what: &str) {
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    let wanted = r#"Bearer realm="doorward", error="invalid_token""#;
    assert!(challenge.starts_with(wanted), "{what}: {challenge}");
}

async fn refused(app: &TestApp, what: &str, token: &str) {
    let answer = app.me(token).await;
    let code = answer.body["code"].as_str();
    assert_eq!((answer.status, code), (401, Some("invalid_token")), "{what}: {}", answer.text);
    assert_challenged(&answer, what);
    assert!(!answer.text.contains("eyJ"), "{what}: the token is not quoted");
}

/// An uncompressed point (SEC 1 2.3.3), or the single number of the key.
fn public_numbers(jwk: &Value) -> Vec<u8> {
    match jwk["kty"].as_str().unwrap() {
        "EC" => [&[4][..], &number(jwk, "x"), &number(jwk, "y")].concat(),
        "OKP" => number(jwk, "x"),
        _ => number(jwk, "n"),
    }
}

fn number(jwk: &Value, name: &str) -> Vec<u8> {
    decode(jwk[name].as_str().unwrap())
}

async fn jwks(app: &TestApp) -> Value {
    app.get("/.well-known/jwks.json").send().await.assert_status(200).body
}

fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}
