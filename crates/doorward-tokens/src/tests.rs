//! Valid tokens, and every forgery that a published implementation has accepted.

mod contents;
mod forgeries;
mod size;

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;

static ES256: LazyLock<SigningKey> = LazyLock::new(es256);
static EDDSA: LazyLock<SigningKey> = LazyLock::new(|| {
    let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
    SigningKey::from_pkcs8(Algorithm::EdDsa, der.as_ref()).unwrap()
});
static RS256: LazyLock<SigningKey> = LazyLock::new(|| {
    let der = rsa::KeyPair::generate(KeySize::Rsa3072).unwrap().as_der().unwrap();
    SigningKey::from_pkcs8(Algorithm::Rs256, der.as_ref()).unwrap()
});

fn es256() -> SigningKey {
    let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let der = EcdsaKeyPair::generate_pkcs8(alg, &SystemRandom::new()).unwrap();
    SigningKey::from_pkcs8(Algorithm::Es256, der.as_ref()).unwrap()
}

fn keys() -> [&'static SigningKey; 3] {
    [&ES256, &EDDSA, &RS256]
}

fn claims() -> Claims {
    Claims {
        iss: "http://127.0.0.1:8080".into(),
        sub: Uuid::from_u128(0x0192_f7a8_6d1c_7a3e_8f00_1111_2222_3333),
        aud: "doorward".into(),
        exp: NOW + 600,
        iat: NOW,
        jti: TokenId::from_bits(0x0192_f7a8_6d1c_7a3e),
        client_id: "doorward".into(),
        sid: Some(Uuid::from_u128(0x0192_f7a8_6d1c_7a3e_8f00_7777_8888_9999)),
        scope: None,
        roles: vec![],
        ext: None,
        auth_time: None,
        amr: vec![],
    }
}

fn expected() -> Expected {
    Expected {
        issuer: "http://127.0.0.1:8080".into(),
        audience: "doorward".into(),
        leeway: Duration::ZERO,
    }
}

/// Verifies with all three keys, as with a key set.
fn verify_at(token: &str, seconds: i64) -> Result<Claims, TokenError> {
    let by_kid = |kid: &str| {
        let key = keys().into_iter().find(|key| key.kid() == kid)?;
        Some(Arc::new(VerifyingKey::from(key.jwk())))
    };
    verify(token, by_kid, &expected(), Timestamp::from_unix_seconds(seconds))
}

fn verify_now(token: &str) -> Result<Claims, TokenError> {
    verify_at(token, NOW)
}

fn base64(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn header(key: &SigningKey) -> Value {
    json!({"typ": "at+jwt", "alg": key.alg(), "kid": key.kid()})
}

/// A token with a valid signature over any header and claims.
fn signed(key: &SigningKey, header: &impl ToString, claims: &impl ToString) -> String {
    let message = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = key.signature(message.as_bytes()).unwrap();
    format!("{message}.{}", base64(signature))
}

/// A token with a valid signature and these claims changed.
fn verify_with_claims(changes: &[(&str, Value)]) -> Result<Claims, TokenError> {
    let mut claims = json!(claims());
    for (name, value) in changes {
        claims[name] = value.clone();
    }
    verify_now(&signed(&ES256, &header(&ES256), &claims))
}

/// A token with a valid signature and these header members changed.
fn verify_with_header(changes: &[(&str, Value)]) -> Result<Claims, TokenError> {
    let mut header = header(&ES256);
    for (name, value) in changes {
        header[name] = value.clone();
    }
    verify_now(&signed(&ES256, &header, &json!(claims())))
}

fn without(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove(name).unwrap();
    object
}

#[test]
fn a_token_of_each_algorithm_verifies() {
    let claims = Claims {
        scope: Some("read write".into()),
        roles: vec!["admin".into(), "auditor".into()],
        ..claims()
    };
    for key in keys() {
        assert_eq!(verify_now(&key.sign(&claims).unwrap()), Ok(claims.clone()), "{key:?}");
    }
}

#[test]
fn a_token_has_no_optional_members_and_is_under_450_bytes() {
    let token = ES256.sign(&claims()).unwrap();
    let [header, payload, _] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let text = |part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let kid = ES256.kid();
    assert_eq!(text(header), format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}"}}"#));
    assert!(text(payload).starts_with(r#"{"iss":"http://127.0.0.1:8080","sub":"0192f7a8-6d1c-"#));
    assert!(!text(payload).contains("scope") && !text(payload).contains("roles"));
    assert!(token.len() < 450, "{}", token.len());
}

#[test]
fn the_kid_is_the_beginning_of_the_thumbprint() {
    for key in keys() {
        assert_eq!(key.kid(), &key.jwk().thumbprint()[..11]);
        assert_eq!(VerifyingKey::from(key.jwk()).kid(), key.kid());
        assert_eq!(VerifyingKey::from(key.jwk()).alg(), key.alg());
    }
}

#[test]
fn a_key_that_went_through_the_key_set_still_verifies() {
    for key in keys() {
        let json = serde_json::to_string(key.jwk()).unwrap();
        let jwk: Jwk = serde_json::from_str(&json).unwrap();
        let verifying = Arc::new(VerifyingKey::from(&jwk));
        let token = key.sign(&claims()).unwrap();
        let now = Timestamp::from_unix_seconds(NOW);
        assert!(verify(&token, |_| Some(verifying), &expected(), now).is_ok());
    }
}

#[test]
fn both_versions_of_pkcs8_are_read() {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    assert!(SigningKey::from_pkcs8(Algorithm::EdDsa, der.as_ref()).is_ok());
}

#[test]
fn a_private_key_of_another_kind_or_strength_is_refused() {
    let es256 =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let eddsa = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new());
    let rs256 = rsa::KeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
    let ders = [
        es256.unwrap().as_ref().to_vec(),
        eddsa.unwrap().as_ref().to_vec(),
        rs256.as_ref().to_vec(),
    ];
    let algs = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];
    for (i, der) in ders.iter().enumerate() {
        for (j, &alg) in algs.iter().enumerate() {
            assert_eq!(SigningKey::from_pkcs8(alg, der).is_ok(), i == j, "{i} as {alg}");
        }
        for cut in [0, 1, 2, 3, 20, der.len() / 2, der.len() - 1] {
            assert!(SigningKey::from_pkcs8(algs[i], &der[..cut]).is_err(), "{cut} bytes of {i}");
        }
    }
}

#[test]
fn keys_are_send_and_sync_and_debug_reveals_no_key_material() {
    fn shared<T: Send + Sync>(_: &T) {}
    for key in keys() {
        let verifying = VerifyingKey::from(key.jwk());
        shared(key);
        shared(&verifying);
        assert_eq!(format!("{key:?}"), format!("SigningKey({} {})", key.alg(), key.kid()));
        assert_eq!(format!("{verifying:?}"), format!("VerifyingKey({} {})", key.alg(), key.kid()));
    }
}

/// One change to a token: a letter replaced, inserted or removed, or an end cut off.
fn mutate(token: &str, kind: usize, at: prop::sample::Index, letter: char) -> String {
    let mut letters: Vec<char> = token.chars().collect();
    let at = at.index(letters.len());
    match kind {
        0 => letters[at] = letter,
        1 => letters.insert(at, letter),
        2 => drop(letters.remove(at)),
        3 => letters.truncate(at),
        4 => letters.rotate_left(at),
        _ => drop(letters.drain(..at)),
    }
    letters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_mutated_token_is_never_accepted(
        key in 0..3_usize,
        kind in 0..6_usize,
        at: prop::sample::Index,
        letter in prop_oneof!["[A-Za-z0-9_.=-]", any::<char>().prop_map(String::from)],
    ) {
        static TOKENS: LazyLock<[String; 3]> =
            LazyLock::new(|| keys().map(|key| key.sign(&claims()).unwrap()));
        let token = &TOKENS[key];
        let changed = mutate(token, kind, at, letter.chars().next().unwrap());
        prop_assume!(changed != *token);
        prop_assert!(verify_now(&changed).is_err());
    }

    #[test]
    fn any_text_is_refused_without_a_panic(
        text in "\\PC*",
        header in any::<Vec<u8>>(),
        rest in "[A-Za-z_-]{0,9}",
    ) {
        let shaped = format!("{}.{rest}.{rest}", base64(header));
        prop_assert!(verify_now(&text).is_err());
        prop_assert!(verify_now(&shaped).is_err());
    }
}
