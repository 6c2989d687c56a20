//! Tokens without a signature, or signed by somebody else. The forger makes good ones, too.

use std::net::TcpListener;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::forger::Forger;
use crate::support::jwt::encode;
use crate::support::{TestApp, der};

use super::{ALGORITHMS, public_numbers, refused};

#[tokio::test]
async fn a_token_built_like_the_services_own_is_accepted() {
    for algorithm in ALGORITHMS {
        let app = TestApp::with(|config| config.tokens.algorithm = algorithm).await;
        let user = app.signed_up().await;
        let forger = Forger::of(&user).await;
        app.me(&forger.sign(&forger.good)).await.assert_status(200);
        let harmless = forger.with_header("x-other", json!({ "a": [1] }));
        app.me(&harmless).await.assert_status(200);
        let several = forger.with_claim("aud", json!(["other", "doorward"]));
        app.me(&several).await.assert_status(200);
    }
}

#[tokio::test]
async fn an_unsigned_token_is_rejected_in_every_form() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let forger = Forger::of(&user).await;
    for alg in ["none", "None", "nOnE", "NONE", "", "ES256 ", "es256"] {
        for kid in [forger.good.header()["kid"].clone(), Value::Null] {
            let header = json!({ "typ": "at+jwt", "alg": alg, "kid": kid });
            let token = forger.good.with_header_text(header.to_string());
            refused(&app, alg, &token.with_signature("").to_string()).await;
            refused(&app, alg, &token.to_string()).await;
            refused(&app, alg, &token.message()).await;
        }
    }
    let token = forger.good.with_signature("").to_string();
    refused(&app, "the signature cut off", &token).await;
}

#[tokio::test]
async fn a_public_key_is_not_accepted_as_a_shared_secret() {
    for algorithm in ALGORITHMS {
        let app = TestApp::with(|config| config.tokens.algorithm = algorithm).await;
        let user = app.signed_up().await;
        let forger = Forger::of(&user).await;
        let set = app.get("/.well-known/jwks.json").send().await;
        let jwk = &set.body["keys"][0];
        let (numbers, kid) = (public_numbers(jwk), jwk["kid"].as_str().unwrap());
        let der = forger.key.public();
        let lines: String = STANDARD
            .encode(&der)
            .as_bytes()
            .chunks(64)
            .fold(String::from("-----BEGIN PUBLIC KEY-----\n"), |pem, line| {
                pem + std::str::from_utf8(line).unwrap() + "\n"
            });
        let pem = lines + "-----END PUBLIC KEY-----\n";
        let secrets = [
            pem.as_bytes(),
            pem.trim_end().as_bytes(),
            &der,
            set.text.as_bytes(),
            jwk.to_string().as_bytes(),
            &numbers,
            kid.as_bytes(),
            b"",
        ]
        .map(<[u8]>::to_vec);
        for secret in secrets {
            for (alg, mac) in [
                ("HS256", hmac::HMAC_SHA256),
                ("HS384", hmac::HMAC_SHA384),
                ("HS512", hmac::HMAC_SHA512),
                (algorithm.as_str(), hmac::HMAC_SHA256),
            ] {
                let token = forger.good.with_header("alg", alg).signed(|message| {
                    let key = hmac::Key::new(mac, &secret);
                    hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
                });
                refused(&app, alg, &token.to_string()).await;
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_the_token_brings_along_is_neither_used_nor_fetched() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let forger = Forger::of(&user).await;
    let attacker = forger.with_another_key();
    let jwk = attacker.key.jwk("thief");
    let certificate = STANDARD.encode(der::certificate(&attacker.key.public()));
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", trap.local_addr().unwrap());
    for kid in [json!("thief"), forger.good.header()["kid"].clone()] {
        for (name, value) in [
            ("jwk", jwk.clone()),
            ("jku", json!(url)),
            ("x5u", json!(url)),
            ("x5c", json!([certificate])),
            ("x5t", json!(encode(digest::digest(&digest::SHA256, certificate.as_bytes())))),
            ("other", json!("only another key")),
        ] {
            let token = attacker.good.with_header("kid", kid.clone()).with_header(name, value);
            refused(&app, name, &attacker.sign(&token)).await;
        }
    }
    // With the real key, too: the author of such a header expects it to be used.
    for (name, value) in
        [("jwk", jwk), ("jku", json!(url)), ("x5u", json!(url)), ("x5c", json!([certificate]))]
    {
        refused(&app, name, &forger.with_header(name, value)).await;
    }
    let visit = trap.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(visit, Err(std::io::ErrorKind::WouldBlock), "nothing was fetched");
}

#[tokio::test]
async fn a_token_of_another_service_is_refused() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let elsewhere = TestApp::start().await;
    let stranger = elsewhere.signed_up().await;
    refused(&app, "another service's", &stranger.tokens.access).await;
    refused(&elsewhere, "another service's", &user.tokens.access).await;
}
