//! The published keys: caching, and verification by others.

use aws_lc_rs::digest;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use jsonwebtoken::jwk::JwkSet;
use serde_json::Value;

use crate::support::TestApp;
use crate::support::app::ISSUER;
use crate::support::jwt::{Jwt, decode, encode};

use super::{ALGORITHMS, jwks, names, number, public_numbers};

/// The members of each kind of key, private ones not among them (RFC 7518 6, RFC 8037 2).
const MEMBERS: [(&str, &[&str]); 3] = [
    ("EC", &["alg", "crv", "kid", "kty", "use", "x", "y"]),
    ("OKP", &["alg", "crv", "kid", "kty", "use", "x"]),
    ("RSA", &["alg", "e", "kid", "kty", "n", "use"]),
];

#[tokio::test]
async fn the_key_set_is_cacheable_and_can_be_revalidated() {
    let app = TestApp::start().await;
    let answer = app.get("/.well-known/jwks.json").send().await.assert_status(200);
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=600"));
    let etag = answer.header("etag").unwrap();
    for known in [etag, &format!("W/{etag}"), &format!("\"other\", {etag}"), "*"] {
        let call = app.get("/.well-known/jwks.json").header("if-none-match", known);
        let again = call.send().await.assert_status(304);
        assert_eq!((again.header("etag"), again.text.as_str()), (Some(etag), ""));
        assert_eq!(again.header("cache-control"), Some("public, max-age=600"));
    }
    for unknown in ["\"other\"", "", etag.trim_matches('"')] {
        let call = app.get("/.well-known/jwks.json").header("if-none-match", unknown);
        assert_eq!(call.send().await.assert_status(200).body, answer.body, "{unknown}");
    }
}

#[tokio::test]
async fn the_key_sets_max_age_is_the_configured_one() {
    let app = TestApp::with(|config| {
        config.tokens.jwks_max_age = std::time::Duration::from_secs(90);
    })
    .await;
    let answer = app.get("/.well-known/jwks.json").send().await.assert_status(200);
    assert_eq!(answer.header("cache-control"), Some("public, max-age=90"));
}

#[tokio::test]
async fn the_keys_stay_the_same_across_a_restart() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (before, access) = (jwks(&app).await, user.tokens.access);
    let app = app.restart().await;
    assert_eq!(jwks(&app).await, before);
    app.me(&access).await.assert_status(200);
}

#[tokio::test]
async fn a_token_of_each_algorithm_can_be_verified_with_the_key_set_alone() {
    for algorithm in ALGORITHMS {
        let app = TestApp::with(|config| config.tokens.algorithm = algorithm).await;
        let user = app.signed_up().await;
        let token = &user.tokens.access;
        let set = jwks(&app).await;
        let read = Jwt::read(token);
        let (header, claims) = (read.header(), read.claims());
        assert_eq!(header["alg"], algorithm.as_str());
        let jwk = &set["keys"][0];
        assert_eq!((&jwk["kid"], &jwk["alg"]), (&header["kid"], &header["alg"]));
        let members = MEMBERS.iter().find(|(kind, _)| jwk["kty"] == *kind).unwrap().1;
        assert_eq!(names(jwk), members, "public members only");
        assert!(thumbprint(jwk).starts_with(jwk["kid"].as_str().unwrap()), "RFC 7638");

        assert!(signature_is_good(jwk, token), "{algorithm}: with the bare algorithm");
        let other = read.with_claim("sub", "other").to_string();
        assert!(!signature_is_good(jwk, &other));
        let set: JwkSet = serde_json::from_value(set).unwrap();
        let known = set.find(header["kid"].as_str().unwrap()).unwrap();
        let mut rules = jsonwebtoken::Validation::new(algorithm.as_str().parse().unwrap());
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&["doorward"]);
        // The test's clock is not the machine's.
        rules.validate_exp = false;
        let key = jsonwebtoken::DecodingKey::from_jwk(known).unwrap();
        let said = jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap();
        assert_eq!(said.claims, claims, "{algorithm}: with a common library");
        user.me().await.assert_status(200);
    }
}

/// Verifies a signature with only the JWK and the bare algorithm.
fn signature_is_good(jwk: &Value, token: &str) -> bool {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (message, signature) = (message.as_bytes(), decode(signature));
    let numbers = public_numbers(jwk);
    let good = match jwk["kty"].as_str().unwrap() {
        "EC" => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, numbers).verify(message, &signature)
        }
        "OKP" => UnparsedPublicKey::new(&signature::ED25519, numbers).verify(message, &signature),
        "RSA" => {
            let (n, e) = (number(jwk, "n"), number(jwk, "e"));
            assert_eq!(n.len(), 384, "3072 bits");
            PublicKeyComponents { n, e }.verify(
                &signature::RSA_PKCS1_2048_8192_SHA256,
                message,
                &signature,
            )
        }
        other => panic!("{other}"),
    };
    good.is_ok()
}

/// RFC 7638 3: the required members, sorted by name.
fn thumbprint(jwk: &Value) -> String {
    let required =
        ["crv", "e", "kty", "n", "x", "y"].into_iter().filter(|name| jwk[name].is_string());
    let members: Vec<String> = required.map(|name| format!(r#""{name}":{}"#, jwk[name])).collect();
    let text = format!("{{{}}}", members.join(","));
    encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
