//! Tokens with a valid signature over claims that must be rejected.

use super::*;

#[test]
fn a_token_without_a_required_claim_is_rejected() {
    let all = json!(claims());
    for name in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"] {
        let token = signed(&ES256, &header(&ES256), &without(&all, name));
        assert_eq!(verify_now(&token), Err(TokenError::Claims), "{name}");
    }
}

#[test]
fn a_claim_of_the_wrong_type_is_not_treated_as_absent() {
    let strings = [Value::Null, json!(1), json!(true), json!(["x"]), json!({"x": 1})];
    let later = (NOW + 600).to_string();
    let numbers = [
        Value::Null,
        json!(later),
        json!(1_800_000_600.5),
        json!(1_800_000_600.0),
        json!(u64::MAX),
        json!(true),
        json!([NOW + 600]),
        json!({}),
    ];
    for name in ["iss", "sub", "jti", "client_id", "sid", "scope"] {
        for wrong in &strings {
            assert_eq!(
                verify_with_claims(&[(name, wrong.clone())]),
                Err(TokenError::Claims),
                "{name} {wrong}"
            );
        }
    }
    for name in ["exp", "iat", "nbf"] {
        for wrong in &numbers {
            assert_eq!(
                verify_with_claims(&[(name, wrong.clone())]),
                Err(TokenError::Claims),
                "{name} {wrong}"
            );
        }
    }
    for wrong in [Value::Null, json!(1), json!({"doorward": 1}), json!(["doorward", 1])] {
        assert_eq!(
            verify_with_claims(&[("aud", wrong.clone())]),
            Err(TokenError::Claims),
            "aud {wrong}"
        );
    }
    for wrong in [Value::Null, json!("admin"), json!([1]), json!({"admin": true})] {
        assert_eq!(
            verify_with_claims(&[("roles", wrong.clone())]),
            Err(TokenError::Claims),
            "roles {wrong}"
        );
    }
    for wrong in [Value::Null, json!("pro"), json!(["pro"]), json!(1)] {
        assert_eq!(
            verify_with_claims(&[("ext", wrong.clone())]),
            Err(TokenError::Claims),
            "ext {wrong}"
        );
    }
}

#[test]
fn an_id_has_one_canonical_form() {
    let id = claims().sub;
    for wrong in [
        id.simple().to_string(),
        id.braced().to_string(),
        id.urn().to_string(),
        id.hyphenated().to_string().to_uppercase(),
        format!(" {id}"),
        format!("{id}\0"),
        String::new(),
        "alice".into(),
    ] {
        for name in ["sub", "sid"] {
            let claimed = verify_with_claims(&[(name, json!(wrong))]);
            assert_eq!(claimed, Err(TokenError::Claims), "{name} {wrong}");
        }
    }
}

#[test]
fn another_issuers_or_audiences_token_is_refused() {
    for iss in ["http://127.0.0.1:8081", "http://127.0.0.1:8080/", "HTTP://127.0.0.1:8080", ""] {
        assert_eq!(verify_with_claims(&[("iss", json!(iss))]), Err(TokenError::Issuer), "{iss}");
    }
    for aud in [
        json!("other"),
        json!("doorward "),
        json!("Doorward"),
        json!(""),
        json!([]),
        json!(["a", "b"]),
    ] {
        assert_eq!(verify_with_claims(&[("aud", aud.clone())]), Err(TokenError::Audience), "{aud}");
    }
    assert!(verify_with_claims(&[("aud", json!(["other", "doorward"]))]).is_ok());
}

#[test]
fn a_token_is_valid_until_the_second_of_exp() {
    let token = ES256.sign(&claims()).unwrap();
    assert!(verify_at(&token, NOW + 599).is_ok());
    assert_eq!(verify_at(&token, NOW + 600), Err(TokenError::Expired));
    assert_eq!(verify_with_claims(&[("exp", json!(0))]), Err(TokenError::Expired));
    assert_eq!(verify_with_claims(&[("exp", json!(i64::MIN))]), Err(TokenError::Expired));
    assert!(verify_with_claims(&[("exp", json!(i64::MAX))]).is_ok());
}

#[test]
fn the_leeway_applies_to_expiry_and_not_before() {
    let key = Arc::new(VerifyingKey::from(ES256.jwk()));
    let expected = Expected { leeway: Duration::from_secs(90), ..expected() };
    let at = |claims: Value, seconds| {
        let token = signed(&ES256, &header(&ES256), &claims);
        let now = Timestamp::from_unix_seconds(seconds);
        verify(&token, |_| Some(key.clone()), &expected, now).map(|_| ())
    };
    assert_eq!(at(json!(claims()), NOW + 689), Ok(()));
    assert_eq!(at(json!(claims()), NOW + 690), Err(TokenError::Expired));
    assert_eq!(at(json!(claims()), NOW - 90), Ok(()));
    assert_eq!(at(json!(claims()), NOW - 91), Err(TokenError::NotYetValid));
    let mut later = json!(claims());
    later["nbf"] = json!(NOW + 90);
    assert_eq!(at(later.clone(), NOW), Ok(()));
    assert_eq!(at(later, NOW - 1), Err(TokenError::NotYetValid));
}

#[test]
fn a_token_from_the_future_is_refused() {
    assert!(verify_with_claims(&[("nbf", json!(NOW))]).is_ok());
    assert_eq!(verify_with_claims(&[("nbf", json!(NOW + 1))]), Err(TokenError::NotYetValid));
    assert_eq!(verify_with_claims(&[("nbf", json!(i64::MAX))]), Err(TokenError::NotYetValid));
    assert!(verify_with_claims(&[("iat", json!(NOW + 60))]).is_ok());
    assert_eq!(verify_with_claims(&[("iat", json!(NOW + 61))]), Err(TokenError::NotYetValid));
}

#[test]
fn a_token_bound_to_a_key_is_rejected_as_a_bearer_token() {
    for cnf in
        [json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}), Value::Null, json!({})]
    {
        assert_eq!(verify_with_claims(&[("cnf", cnf)]), Err(TokenError::Bound));
    }
}

#[test]
fn unknown_claims_are_ignored() {
    assert!(
        verify_with_claims(&[("acr", json!({"deep": [1, {"er": 1.5}]})), ("act", Value::Null)])
            .is_ok()
    );
}
