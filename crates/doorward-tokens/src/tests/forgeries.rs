//! Forgeries of the structure: parts, header, key, signature.

use aws_lc_rs::hmac;

use super::*;

#[test]
fn an_unsigned_token_is_rejected_in_every_form() {
    for none in ["none", "None", "NONE", "nOnE", "", "ES256 "] {
        let header = json!({"typ": "at+jwt", "alg": none, "kid": ES256.kid()});
        let message =
            format!("{}.{}", base64(header.to_string()), base64(json!(claims()).to_string()));
        let whole = ES256.sign(&claims()).unwrap();
        let borrowed = whole.rsplit_once('.').unwrap().1;
        for signature in ["", "AA", borrowed] {
            let token = format!("{message}.{signature}");
            assert_eq!(verify_now(&token), Err(TokenError::WrongAlgorithm), "{none}");
        }
    }
    for alg in [Value::Null, json!(["ES256"]), json!({"ES256": null}), json!(1)] {
        assert_eq!(verify_with_header(&[("alg", alg)]), Err(TokenError::Malformed));
    }
}

#[test]
fn a_public_key_is_not_a_shared_secret() {
    for key in keys() {
        let jwk = serde_json::to_string(key.jwk()).unwrap();
        for secret in [jwk.as_bytes(), key.kid().as_bytes(), b""] {
            for alg in ["HS256", "HS384", "HS512", key.alg().as_str()] {
                let header = json!({"typ": "at+jwt", "alg": alg, "kid": key.kid()});
                let message = format!(
                    "{}.{}",
                    base64(header.to_string()),
                    base64(json!(claims()).to_string())
                );
                let mac = hmac::Key::new(hmac::HMAC_SHA256, secret);
                let tag = hmac::sign(&mac, message.as_bytes());
                let error = verify_now(&format!("{message}.{}", base64(tag))).unwrap_err();
                let honest = alg == key.alg().as_str();
                let reason =
                    if honest { TokenError::Signature } else { TokenError::WrongAlgorithm };
                assert_eq!(error, reason);
            }
        }
    }
}

#[test]
fn a_signature_of_another_key_or_algorithm_is_refused() {
    let other = es256();
    let token = signed(&other, &header(&ES256), &json!(claims()));
    assert_eq!(verify_now(&token), Err(TokenError::Signature));
    for signer in keys() {
        for named in keys().into_iter().filter(|key| key.alg() != signer.alg()) {
            let honest = signed(signer, &header(named), &json!(claims()));
            assert_eq!(verify_now(&honest), Err(TokenError::Signature));
            let crossed = json!({"typ": "at+jwt", "alg": signer.alg(), "kid": named.kid()});
            let crossed = signed(signer, &crossed, &json!(claims()));
            assert_eq!(verify_now(&crossed), Err(TokenError::WrongAlgorithm));
        }
    }
}

#[test]
fn degenerate_signatures_are_refused() {
    for key in keys() {
        let token = key.sign(&claims()).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let length = signature.len();
        for forged in [
            vec![],
            vec![0; length],
            vec![0xff; length],
            signature[..length - 1].to_vec(),
            [signature.as_slice(), &[0]].concat(),
            [&[0], signature.as_slice()].concat(),
        ] {
            let forged = format!("{message}.{}", base64(forged));
            assert_eq!(verify_now(&forged), Err(TokenError::Signature));
        }
    }
}

#[test]
fn keys_come_only_from_the_key_set() {
    let attacker = es256();
    let mut jwk = header(&ES256);
    jwk["jwk"] = json!(attacker.jwk());
    assert_eq!(verify_now(&signed(&attacker, &jwk, &json!(claims()))), Err(TokenError::Malformed));

    let unknown = attacker.sign(&claims()).unwrap();
    assert_eq!(verify_now(&unknown), Err(TokenError::UnknownKey(attacker.kid().into())));
    for kid in ["", "../../dev/null", "' OR 1=1 --", "\0"] {
        assert_eq!(
            verify_with_header(&[("kid", json!(kid))]),
            Err(TokenError::UnknownKey(kid.into()))
        );
    }
    for kid in [Value::Null, json!(1), json!([ES256.kid()]), json!({"kid": ES256.kid()})] {
        assert_eq!(verify_with_header(&[("kid", kid)]), Err(TokenError::Malformed));
    }
    let nameless = signed(&ES256, &without(&header(&ES256), "kid"), &json!(claims()));
    assert_eq!(verify_now(&nameless), Err(TokenError::Malformed));
}

#[test]
fn an_unknown_kid_is_not_shown() {
    let shown = TokenError::UnknownKey("<script>".into()).to_string();
    assert_eq!(shown, "the access token was signed with an unknown key");
}

#[test]
fn header_members_that_change_parsing_are_rejected() {
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", Value::Null),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("jku", json!("https://evil.example/jwks.json")),
        ("jwk", json!(ES256.jwk())),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
    ] {
        assert_eq!(verify_with_header(&[(name, value)]), Err(TokenError::Malformed), "{name}");
    }
    assert!(verify_with_header(&[("x-other", json!({"a": [1]}))]).is_ok());
}

#[test]
fn only_access_tokens_are_accepted() {
    for typ in ["at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "Application/AT+JWT"] {
        assert!(verify_with_header(&[("typ", json!(typ))]).is_ok(), "{typ}");
    }
    for typ in [
        "JWT",
        "jwt",
        "",
        "at+jwt ",
        "at",
        "rt+jwt",
        "id+jwt",
        "logout+jwt",
        "dpop+jwt",
        "text/at+jwt",
        "application/application/at+jwt",
        "at+jwt;a=b",
    ] {
        assert_eq!(verify_with_header(&[("typ", json!(typ))]), Err(TokenError::WrongType), "{typ}");
    }
    for typ in [Value::Null, json!(1), json!(["at+jwt"])] {
        assert_eq!(verify_with_header(&[("typ", typ)]), Err(TokenError::Malformed));
    }
    let untyped = signed(&ES256, &without(&header(&ES256), "typ"), &json!(claims()));
    assert_eq!(verify_now(&untyped), Err(TokenError::WrongType));
}

#[test]
fn claims_are_not_reported_before_the_signature_is_verified() {
    let forged = |claims: &str| {
        let message = format!("{}.{}", base64(header(&ES256).to_string()), base64(claims));
        verify_now(&format!("{message}.{}", base64([1; 64])))
    };
    let mut old = claims();
    old.exp = 0;
    for claims in [serde_json::to_string(&old).unwrap().as_str(), "{}", "not JSON", ""] {
        assert_eq!(forged(claims), Err(TokenError::Signature));
    }
}

#[test]
fn ambiguous_input_is_rejected() {
    let (head, body) = (header(&ES256).to_string(), json!(claims()).to_string());
    let extended =
        |object: &str, member: &str| format!("{},{member}}}", object.strip_suffix('}').unwrap());
    for claims in [
        extended(&body, r#""sub":"0192f7a8-6d1c-7a3e-8f00-111122223333""#),
        extended(&body, r#""\u0073ub":"0192f7a8-6d1c-7a3e-8f00-111122223333""#),
        extended(&body, r#""other":1,"other":1"#),
        extended(&body, r#""other":[{"a":{"b":1,"b":1}}]"#),
        extended(&body, &format!(r#""other":{}{}"#, "[".repeat(1000), "]".repeat(1000))),
        format!("\u{feff}{body}"),
        format!("{body}{body}"),
        format!("{body}x"),
        format!("[{body}]"),
        String::new(),
        "null".into(),
    ] {
        let token = signed(&ES256, &head, &claims);
        assert_eq!(verify_now(&token), Err(TokenError::Malformed), "{claims}");
    }
    let kid = ES256.kid();
    for header in [
        extended(&head, r#""alg":"ES256""#),
        extended(&head, r#""other":{"a":1,"a":1}"#),
        format!("\u{feff}{head}"),
        format!("{head} 1"),
        format!(r#"["at+jwt","ES256","{kid}"]"#),
        format!(r#"{{"typ":"at+jwt","alg":"none","kid":"{kid}","alg":"ES256"}}"#),
        "{".into(),
        String::new(),
    ] {
        let token = signed(&ES256, &header, &body);
        assert_eq!(verify_now(&token), Err(TokenError::Malformed), "{header}");
    }
}

#[test]
fn a_part_has_one_canonical_base64_form() {
    let token = ES256.sign(&claims()).unwrap();
    let [header, payload, _] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    // The signature covers the text as written, so that only its form is wrong.
    let verdict = |header: &str, payload: &str, respell: &dyn Fn(&str) -> String| {
        let message = format!("{header}.{payload}");
        let signature = base64(ES256.signature(message.as_bytes()).unwrap());
        verify_now(&format!("{message}.{}", respell(&signature)))
    };
    let respellings: [&dyn Fn(&str) -> String; 6] = [
        &|part| format!("{part}="),
        &|part| format!("{part}=="),
        &|part| format!(" {part}"),
        &|part| format!("{part}\n"),
        &|part| format!("{part}+/"),
        &|part| format!("{part}%3D"),
    ];
    for respell in respellings {
        assert_eq!(verdict(&respell(header), payload, &str::to_owned), Err(TokenError::Malformed));
        assert_eq!(verdict(header, &respell(payload), &str::to_owned), Err(TokenError::Malformed));
        assert_eq!(verdict(header, payload, respell), Err(TokenError::Malformed));
    }
    // 64 bytes leave four bits of the last letter unused. A lenient parser ignores them.
    let next_letter = |part: &str| {
        let (rest, last) = part.split_at(part.len() - 1);
        let next = match last {
            "A" => "B",
            "Q" => "R",
            "g" => "h",
            "w" => "x",
            other => panic!("{other} has no unused bits"),
        };
        format!("{rest}{next}")
    };
    assert_eq!(verdict(header, payload, &str::to_owned), Ok(claims()));
    assert_eq!(verdict(header, payload, &next_letter), Err(TokenError::Malformed));
}

#[test]
fn a_token_has_exactly_three_parts() {
    let token = ES256.sign(&claims()).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    for wrong in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        message.into(),
        format!("{message}."),
        format!(".{token}"),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!("{message}..{signature}"),
        format!("{token}\n"),
        format!(" {token}"),
        format!("Bearer {token}"),
        token.replace('.', "\u{3002}"),
        json!({"payload": "e30", "signatures": []}).to_string(),
    ] {
        assert!(verify_now(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_oversized_token_is_rejected_before_a_key_is_looked_up() {
    let padded = |length| {
        let mut claims = json!(claims());
        claims["pad"] = json!("x".repeat(length));
        signed(&ES256, &header(&ES256), &claims)
    };
    assert!(padded(5_000).len() < MAX_LENGTH && verify_now(&padded(5_000)).is_ok());
    let huge = padded(6_000);
    assert!(huge.len() > MAX_LENGTH);
    let now = Timestamp::from_unix_seconds(NOW);
    let refused = verify(&huge, |_| panic!("no key is looked up"), &expected(), now);
    assert_eq!(refused, Err(TokenError::Malformed));
}
