//! Tokens that could be read in two ways, and huge ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::json;

use crate::support::forger::Forger;
use crate::support::jwt::{decode, encode, with_spare_bits};
use crate::support::{TestApp, der};

use super::refused;

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
    // The signature covers the re-encoded text, so only its form is wrong.
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

/// Only a lenient decoder accepts it.
#[track_caller]
fn assert_same_bytes(respelled: &str, part: &str) {
    let lenient = base64::engine::GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);
    let lenient = base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, lenient);
    assert_eq!(lenient.decode(respelled).unwrap(), decode(part), "the same bytes");
    assert!(URL_SAFE.decode(respelled).is_err());
}
