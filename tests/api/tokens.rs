//! Access tokens from outside: what a real one says, that a stranger can verify it with the published
//! keys alone, and that nothing else is taken for one.

use std::net::TcpListener;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use doorward::tokens::Algorithm;
use jsonwebtoken::jwk::JwkSet;
use serde_json::{Value, json};

use crate::support::app::ISSUER;
use crate::support::forger::Forger;
use crate::support::jwt::{Jwt, decode, encode, with_spare_bits};
use crate::support::{Answer, TestApp, claims, der};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];

/// The members of each kind of key, private ones not among them (RFC 7518 6, RFC 8037 2).
const MEMBERS: [(&str, &[&str]); 3] = [
    ("EC", &["alg", "crv", "kid", "kty", "use", "x", "y"]),
    ("OKP", &["alg", "crv", "kid", "kty", "use", "x"]),
    ("RSA", &["alg", "e", "kid", "kty", "n", "use"]),
];

// What a real token is.

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
async fn every_token_has_a_name_of_its_own_and_a_refresh_keeps_user_and_session() {
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
    // A port of five digits, whichever the system gave.
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

// The published keys.

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
async fn a_stranger_verifies_a_token_of_each_algorithm_with_the_key_set_alone() {
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

        assert!(signature_is_good(jwk, token), "{algorithm}: by the bare algorithm");
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
        assert_eq!(said.claims, claims, "{algorithm}: by a library as others use it");
        user.me().await.assert_status(200);
    }
}

// What is no token of ours. Each is refused for its own fault: the forger that makes them makes good
// ones too.

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
    let thief = forger.with_another_key();
    let jwk = thief.key.jwk("thief");
    let certificate = STANDARD.encode(der::certificate(&thief.key.public()));
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
            let token = thief.good.with_header("kid", kid.clone()).with_header(name, value);
            refused(&app, name, &thief.sign(&token)).await;
        }
    }
    // With the real key, too: whoever writes such a header expects it to be heeded.
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
async fn claims_must_be_there_of_the_right_type_and_meant_for_this_service() {
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

#[tokio::test]
async fn ambiguous_input_is_rejected() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let forger = Forger::of(&user).await;
    let good = forger.good.claims();
    let (header, claims) = (forger.good.header().to_string(), good.to_string());
    let more =
        |object: &str, member: &str| format!("{},{member}}}", object.strip_suffix('}').unwrap());
    let (id, exp) = (&user.id, format!("\"exp\":{}", good["exp"]));
    for claims in [
        more(&claims, &format!(r#""sub":"{id}""#)),
        more(&claims, &format!(r#""\u0073ub":"{id}""#)),
        more(&claims, r#""exp":1900000000"#),
        more(&claims, r#""other":1,"other":1"#),
        more(&claims, r#""other":[{"a":{"b":1,"b":1}}]"#),
        more(&claims, &format!(r#""other":{}{}"#, "[".repeat(1000), "]".repeat(1000))),
        more(&claims, r#""exp2":1e999"#),
        claims.replace(&exp, &format!("{exp}.0")),
        claims.replace(&exp, &format!("{exp}0e-1")),
        format!("\u{feff}{claims}"),
        format!("{claims}{claims}"),
        format!("{claims}x"),
        format!("[{claims}]"),
        format!("{claims}\0"),
        String::from("null"),
        String::new(),
    ] {
        assert_ne!(claims, good.to_string());
        refused(&app, &claims, &forger.with_claims_text(&claims)).await;
    }
    for header in [
        more(&header, r#""alg":"ES256""#),
        more(&header, r#""\u0061lg":"none""#),
        more(&header, r#""typ":"at+jwt""#),
        more(&header, &format!(r#""other":{}1{}"#, r#"{"a":"#.repeat(200), "}".repeat(200))),
        format!("\u{feff}{header}"),
        format!("{header} {{}}"),
        format!("[{header}]"),
        String::from("{"),
        String::new(),
    ] {
        refused(&app, &header, &forger.with_header_text(&header)).await;
    }
}

#[tokio::test]
async fn a_token_has_one_canonical_form() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let forger = Forger::of(&user).await;
    let token = &user.tokens.access;
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    // The signature is over the text as it is respelled, so nothing but the spelling is wrong.
    let signed = |message: &str| format!("{message}.{}", encode(forger.key.sign(message)));
    app.me(&signed(message)).await.assert_status(200);
    let respelled = with_spare_bits(signature);
    assert_same_bytes(&respelled, signature);
    for (what, token) in [
        ("padded header", signed(&format!("{header}=.{claims}"))),
        ("padded claims", signed(&format!("{header}.{claims}=="))),
        ("padded signature", format!("{token}==")),
        ("foreign letters", signed(&format!("{header}+/.{claims}"))),
        ("a tilde", format!("{token}~")),
        ("spare bits", format!("{message}.{respelled}")),
        ("a longer signature", format!("{token}AA")),
        ("a shorter signature", token[..token.len() - 2].to_owned()),
        ("a zero signature", format!("{message}.{}", encode([0; 64]))),
        (
            "a signature in DER",
            format!("{message}.{}", encode(der::signature(&forger.key.sign(message)))),
        ),
        ("a fourth part", format!("{token}.{signature}")),
        ("a fifth part", format!("{token}..")),
        ("an empty part before", format!(".{token}")),
        ("a dot behind", format!("{token}.")),
        ("two parts", message.to_owned()),
        ("one part", header.to_owned()),
        ("dots", "..".to_owned()),
        ("the same twice", format!("{token} {token}")),
        ("a quoted token", format!("\"{token}\"")),
        ("JSON", json!({ "payload": claims, "signatures": [] }).to_string()),
    ] {
        refused(&app, what, &token).await;
    }
}

#[tokio::test]
async fn a_huge_token_is_refused() {
    let app = TestApp::start().await;
    let forger = Forger::of(&app.signed_up().await).await;
    for length in [5_000, 20_000] {
        let token = forger.with_claim("pad", json!("x".repeat(length)));
        refused(&app, "huge claims", &token).await;
        refused(&app, "huge header", &forger.with_header("pad", json!("x".repeat(length)))).await;
        refused(&app, "dots", &".".repeat(length)).await;
        refused(&app, "letters", &"A".repeat(length)).await;
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(length / 3), "]".repeat(length / 3));
        refused(&app, "deep", &forger.with_claims_text(&deep)).await;
    }
    app.me(&"A".repeat(40_000)).await.assert_problem(431, "headers_too_large");
}

#[tokio::test]
async fn each_kind_of_token_is_accepted_only_by_its_own_endpoint() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    refused(&app, "a refresh token", &user.tokens.refresh).await;
    let answer = app.refresh(&user.tokens.access).await.assert_ended("unknown_token");
    assert!(answer.header("www-authenticate").is_some());
    let forger = Forger::of(&user).await;
    let dressed = format!("dwr_{}", user.tokens.access);
    app.refresh(&dressed).await.assert_ended("unknown_token");
    refused(&app, "a prefix", &dressed).await;
    let as_device = json!({ "refresh_token": forger.sign(&forger.good) });
    app.post("/refresh").json(&as_device).send().await.assert_ended("unknown_token");
    user.me().await.assert_status(200);
}

#[tokio::test]
async fn without_a_bearer_token_the_challenge_names_no_error() {
    let app = TestApp::start().await;
    let calls = [
        app.get("/me"),
        app.get("/sessions"),
        app.get("/me").header("authorization", "Basic YTpi"),
        app.get("/me").header("authorization", "Token abc"),
        app.get("/me").header("authorization", ""),
    ];
    for call in calls {
        let answer = call.send().await.assert_problem(401, "missing_token");
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="doorward""#));
    }
}

/// Every door for holders of an access token refuses this one, and says so as RFC 6750 3 asks.
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
    assert!(!answer.text.contains("eyJ"), "{what}: the token is not repeated");
}

/// Checks a signature with nothing but the JWK and the bare algorithm.
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

/// A point uncompressed (SEC 1 2.3.3), or the one number that makes the key.
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

/// RFC 7638 3: the required members in the order of their names.
fn thumbprint(jwk: &Value) -> String {
    let required =
        ["crv", "e", "kty", "n", "x", "y"].into_iter().filter(|name| jwk[name].is_string());
    let members: Vec<String> = required.map(|name| format!(r#""{name}":{}"#, jwk[name])).collect();
    let text = format!("{{{}}}", members.join(","));
    encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

async fn jwks(app: &TestApp) -> Value {
    app.get("/.well-known/jwks.json").send().await.assert_status(200).body
}

fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// For a decoder that is lenient, and only for such a one.
#[track_caller]
fn assert_same_bytes(respelled: &str, part: &str) {
    let lenient = base64::engine::GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);
    let lenient = base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, lenient);
    assert_eq!(lenient.decode(respelled).unwrap(), decode(part), "the same bytes");
    assert!(URL_SAFE.decode(respelled).is_err());
}
