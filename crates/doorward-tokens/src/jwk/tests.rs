use serde_json::{Value, json};

use super::*;

/// RFC 7638 3.1.
const MODULUS: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7\
    aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4\
    QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNL\
    yrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDK\
    gw";

fn rsa() -> Value {
    json!({"kty": "RSA", "n": MODULUS, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
           "use": "sig"})
}

/// RFC 8037 A.2 and A.3.
fn ed25519() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
           "alg": "EdDSA", "kid": "a", "use": "sig"})
}

/// RFC 7515 A.3.1.
fn p256() -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
           "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "alg": "ES256", "kid": "b",
           "use": "sig"})
}

fn parse(value: &Value) -> Result<Jwk, String> {
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}

#[test]
fn thumbprints_are_those_of_the_standards() {
    let thumbprint = |value: &Value| parse(value).unwrap().thumbprint();
    assert_eq!(thumbprint(&rsa()), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert_eq!(thumbprint(&ed25519()), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    assert_eq!(thumbprint(&p256()), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
}

#[test]
fn a_jwk_is_written_as_it_was_read() {
    for written in [rsa(), ed25519(), p256()] {
        let jwk = parse(&written).unwrap();
        assert_eq!(serde_json::to_value(&jwk).unwrap(), written);
        assert_eq!(Value::from(jwk.alg().as_str()), written["alg"]);
        assert_eq!(Value::from(jwk.kid()), written["kid"]);
    }
}

#[test]
fn unknown_members_are_ignored() {
    let mut jwk = p256();
    jwk["key_ops"] = json!(["verify"]);
    jwk["d"] = json!("never read");
    assert_eq!(parse(&jwk), parse(&p256()));
}

#[test]
fn jwks_of_other_kinds_or_sizes_are_refused() {
    for (mut jwk, member, value) in [
        (p256(), "alg", json!("ES384")),
        (p256(), "alg", json!("HS256")),
        (p256(), "alg", json!("EdDSA")),
        (p256(), "alg", Value::Null),
        (p256(), "crv", json!("secp256k1")),
        (p256(), "crv", Value::Null),
        (p256(), "use", json!("enc")),
        (p256(), "kid", json!("")),
        (p256(), "kid", json!(7)),
        (p256(), "kty", json!("oct")),
        (p256(), "y", Value::Null),
        (p256(), "x", json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVE")),
        (p256(), "x", json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEV")),
        (p256(), "x", json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU=")),
        (ed25519(), "x", json!("AAAA")),
        (ed25519(), "crv", json!("Ed448")),
        (rsa(), "alg", json!("PS256")),
        (rsa(), "e", json!("")),
        (rsa(), "n", json!("AQAB")),
        (rsa(), "n", json!(format!("AAAA{MODULUS}"))),
    ] {
        jwk[member] = value;
        assert!(parse(&jwk).is_err(), "{jwk}");
    }
}

#[test]
fn algorithm_names_are_case_sensitive() {
    for alg in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        assert_eq!(alg.to_string().parse(), Ok(alg));
        let json = serde_json::to_value(alg).unwrap();
        assert_eq!(json, alg.as_str());
        assert_eq!(serde_json::from_value::<Algorithm>(json).unwrap(), alg);
    }
    for other in ["es256", "EDDSA", "HS256", "none", "NONE", "", " ES256"] {
        assert_eq!(other.parse::<Algorithm>(), Err(UnknownAlgorithm));
    }
    assert!(serde_json::from_value::<Algorithm>(json!({"ES256": null})).is_err());
}
