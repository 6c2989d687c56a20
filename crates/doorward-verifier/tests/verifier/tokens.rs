//! The acceptance of tokens, at first use and when cached.

use std::sync::Arc;
use std::time::Duration;

use doorward_verifier::{TokenError, VerifyError};
use serde_json::{Value, json};

use super::issuer::{Issuer, key};
use super::jwt::Jwt;
use super::{builder, started, verdict, verifier};

#[tokio::test]
async fn a_valid_token_returns_its_claims_the_second_time_too() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let mut claims = issuer.claims();
    (claims.scope, claims.roles) = (Some("orders:read".into()), vec!["admin".into()]);
    let token = issuer.sign(&claims);
    let first = verifier.verify(&token).unwrap();
    assert_eq!(*first, claims);
    assert!(Arc::ptr_eq(&first, &verifier.verify(&token).unwrap()));
    assert!(Arc::ptr_eq(&first, &verifier.verify_or_refetch(&token).await.unwrap()));
}

#[tokio::test]
async fn times_are_checked_each_time_with_the_leeway() {
    let issuer = Issuer::start().await;
    let patient = || builder(&issuer).max_staleness(Duration::from_secs(600));
    let verifier = started(patient()).await;
    let strict = started(patient().leeway(Duration::ZERO)).await;
    let mut claims = issuer.claims();
    claims.exp = claims.iat + 5;
    let token = issuer.sign(&claims);
    assert_eq!((verdict(&verifier, &token), verdict(&strict, &token)), (Ok(()), Ok(())));
    issuer.clock.advance(Duration::from_secs(5));
    assert_eq!(verdict(&verifier, &token), Ok(()));
    assert_eq!(verdict(&strict, &token), Err(TokenError::Expired.into()));
    issuer.clock.advance(Duration::from_secs(29));
    assert_eq!(verdict(&verifier, &token), Ok(()));
    issuer.clock.advance(Duration::from_secs(1));
    for _ in 0..2 {
        assert_eq!(verdict(&verifier, &token), Err(TokenError::Expired.into()));
    }
    let mut early = issuer.claims();
    early.iat += 120;
    assert_eq!(verdict(&verifier, &issuer.sign(&early)), Err(TokenError::NotYetValid.into()));
}

#[tokio::test]
async fn the_age_of_the_authentication_is_checked_each_time() {
    let issuer = Issuer::start().await;
    let limit = Duration::from_secs(60);
    let patient = builder(&issuer).max_staleness(Duration::from_secs(600)).leeway(Duration::ZERO);
    let verifier = started(patient).await;
    let recent = verifier.max_auth_age(limit);
    let mut claims = issuer.claims();
    let too_old = Err(VerifyError::InsufficientAuthentication { max_age: limit });
    let token = issuer.sign(&claims);
    assert_eq!((verdict(&verifier, &token), verdict(&recent, &token)), (Ok(()), too_old.clone()));
    (claims.auth_time, claims.amr) = (Some(claims.iat), vec!["pwd".into()]);
    let token = issuer.sign(&claims);
    assert_eq!(verdict(&recent, &token), Ok(()));
    issuer.clock.advance(limit);
    assert_eq!(verdict(&recent, &token), Ok(()));
    issuer.clock.advance(Duration::from_secs(1));
    assert_eq!((verdict(&verifier, &token), verdict(&recent, &token)), (Ok(()), too_old.clone()));
    assert_eq!(recent.verify_or_refetch(&token).await.map(drop), too_old);
}

#[tokio::test]
async fn forgeries_are_refused_and_change_nothing_for_the_honest() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let claims = issuer.claims();
    let token = issuer.sign(&claims);
    assert_eq!(verdict(&verifier, &token), Ok(()));
    let (good, kid) = (Jwt::read(&token), issuer.key().kid().to_owned());
    let head = |header: Value| good.with_header_text(header.to_string()).to_string();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let thief = key().sign(&claims).unwrap();
    for forged in [
        head(json!({"typ": "at+jwt", "alg": "none", "kid": kid})),
        head(json!({"typ": "at+jwt", "alg": "HS256", "kid": kid})),
        head(json!({"typ": "at+jwt", "alg": "RS256", "kid": kid})),
        head(json!({"typ": "JWT", "alg": "ES256", "kid": kid})),
        head(json!({"typ": "at+jwt", "alg": "ES256"})),
        head(json!({"typ": "at+jwt", "alg": "ES256", "kid": [kid]})),
        head(json!({"typ": "at+jwt", "alg": "ES256", "kid": kid, "crit": ["exp"]})),
        head(json!({"typ": "at+jwt", "alg": "ES256", "kid": kid, "jwk": issuer.key().jwk()})),
        good.with_claim("roles", json!(["admin"])).to_string(),
        good.with_signature("").to_string(),
        good.with_signature([0; 64]).to_string(),
        message.to_owned(),
        format!("{token}="),
        format!("{token} "),
        format!("{token}.{signature}"),
        token.to_uppercase(),
        good.with_signature(Jwt::read(&thief).signature()).to_string(),
        thief,
        String::new(),
        "x".repeat(1_000_000),
    ] {
        let error = verdict(&verifier, &forged).unwrap_err();
        assert!(matches!(error, VerifyError::Token(_)), "{forged}: {error:?}");
        assert!(!error.is_transient());
    }
    assert_eq!(verdict(&verifier, &token), Ok(()));
}

#[tokio::test]
async fn tokens_for_others_or_from_others_are_refused() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let mut foreign = issuer.claims();
    foreign.iss.push('/');
    assert_eq!(verdict(&verifier, &issuer.sign(&foreign)), Err(TokenError::Issuer.into()));
    let mut misdirected = issuer.claims();
    misdirected.aud = "payments".into();
    assert_eq!(verdict(&verifier, &issuer.sign(&misdirected)), Err(TokenError::Audience.into()));
}

#[tokio::test]
async fn the_token_cache_is_bounded_and_can_be_off() {
    let issuer = Issuer::start().await;
    for (bound, tokens) in [(100, 300), (0, 10)] {
        let verifier = started(builder(&issuer).cached_tokens(bound)).await;
        let tokens: Vec<String> = (0..tokens).map(|_| issuer.token()).collect();
        for token in tokens.iter().chain(&tokens) {
            assert_eq!(verdict(&verifier, token), Ok(()));
        }
        let shown = format!("{verifier:?}");
        let count = shown.split_once("cached_tokens: ").unwrap().1;
        let count: usize = count.split(',').next().unwrap().parse().unwrap();
        assert!(count <= bound, "{count} of {bound}");
        assert!(bound == 0 || count > bound / 2, "{count} of {bound}");
    }
}
