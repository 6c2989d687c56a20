//! The key set: rotation, unknown keys, and an unreachable issuer.

use std::sync::Arc;
use std::time::Duration;

use doorward_verifier::{TokenError, VerifyError};

use super::issuer::{Issuer, JWKS, key, status};
use super::{until, verdict, verifier};

const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_token_of_a_new_key_is_valid_as_soon_as_the_set_is_fetched() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let old = issuer.token();
    issuer.set(|state| state.keys.insert(0, key()));
    let token = issuer.token();
    assert!(is_unknown(&verdict(&verifier, &token)));
    until(|| verdict(&verifier, &token) == Ok(())).await;
    assert_eq!(verdict(&verifier, &old), Ok(()));

    issuer.clock.advance(LIMIT);
    issuer.set(|state| state.keys.insert(0, key()));
    let token = issuer.token();
    assert!(verifier.verify_or_refetch(&token).await.is_ok());
    assert_eq!(issuer.requests(JWKS).len(), 3);
}

#[tokio::test]
async fn unknown_keys_cost_the_issuer_one_request_in_five_seconds() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let forged: Vec<String> = (0..100).map(|_| key().sign(&issuer.claims()).unwrap()).collect();
    for round in 1..=3 {
        let all = forged.iter().map(|token| verifier.verify_or_refetch(token));
        for result in futures_util::future::join_all(all).await {
            assert!(is_unknown(&result));
        }
        assert!(forged.iter().all(|token| is_unknown(&verdict(&verifier, token))));
        assert_eq!(issuer.requests(JWKS).len(), 1 + round);
        issuer.clock.advance(LIMIT);
    }
    assert!(verifier.verify_or_refetch("no token").await.is_err());
    assert!(verifier.verify_or_refetch(&issuer.token()).await.is_ok());
    assert_eq!(issuer.requests(JWKS).len(), 4);
}

#[tokio::test]
async fn waiting_for_a_key_has_a_limit() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    issuer.set(|state| state.answers.insert(JWKS, "HTTP/1.1 200 OK\r\nX-Endless: ".into()));
    let forged = key().sign(&issuer.claims()).unwrap();
    assert!(is_unknown(&verifier.verify_or_refetch(&forged).await));
    assert_eq!(verdict(&verifier, &issuer.token()), Ok(()));
}

#[tokio::test]
async fn the_key_set_is_fetched_again_when_its_time_is_over() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.cache_control = "max-age=1".into());
    let verifier = verifier(&issuer).await;
    let token = issuer.token();
    let old = issuer.key();
    until(|| issuer.requests(JWKS).len() >= 2).await;
    let etag = format!("\"{}\"", old.kid());
    assert_eq!(issuer.requests(JWKS)[1].headers["if-none-match"], etag);
    assert_eq!(verdict(&verifier, &token), Ok(()));

    let next = key();
    issuer.set(|state| state.keys = vec![Arc::clone(&next)]);
    until(|| is_unknown(&verdict(&verifier, &token))).await;
    assert_eq!(verdict(&verifier, &next.sign(&issuer.claims()).unwrap()), Ok(()));
    // It was cached as valid before; once its key is published again it is valid again.
    issuer.set(|state| state.keys.push(old));
    until(|| verdict(&verifier, &token) == Ok(())).await;
}

#[tokio::test]
async fn a_revoked_key_has_its_successor_fetched() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let old = issuer.key();
    let next = key();
    issuer.set(|state| state.keys = vec![Arc::clone(&next)]);
    issuer.revoke(old.kid());
    until(|| issuer.requests(JWKS).len() == 2).await;
    until(|| is_unknown(&verdict(&verifier, &old.sign(&issuer.claims()).unwrap()))).await;
    assert_eq!(verdict(&verifier, &issuer.token()), Ok(()));
}

#[tokio::test]
async fn keys_outlive_a_key_set_that_cannot_be_fetched_by_a_day() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.cache_control = "max-age=60".into());
    let verifier = verifier(&issuer).await;
    for answer in [
        status("503 Service Unavailable"),
        super::issuer::ok("application/json", "", r#"{"keys":[]}"#),
        super::issuer::ok("application/json", "", "<html>"),
    ] {
        issuer.set(|state| state.answers.insert(JWKS, answer));
        issuer.clock.advance(LIMIT);
        let seen = issuer.requests(JWKS).len();
        assert!(is_unknown(&verdict(&verifier, &key().sign(&issuer.claims()).unwrap())));
        until(|| issuer.requests(JWKS).len() > seen).await;
        assert_eq!(verdict(&verifier, &issuer.token()), Ok(()));
    }
    until(|| verifier.last_error().is_some_and(|text| text.contains("key"))).await;
    issuer.clock.advance(Duration::from_secs(24 * 3600));
    until(|| verifier.staleness() < LIMIT).await;
    assert_eq!(verdict(&verifier, &issuer.token()), Ok(()));
    issuer.clock.advance(Duration::from_secs(61));
    until(|| verifier.staleness() < LIMIT).await;
    assert_eq!(verdict(&verifier, &issuer.token()), Err(VerifyError::Stale));
    issuer.set(|state| state.answers.clear());
    until(|| verdict(&verifier, &issuer.token()) == Ok(())).await;
}

fn is_unknown<T>(verdict: &Result<T, VerifyError>) -> bool {
    matches!(verdict, Err(VerifyError::Token(TokenError::UnknownKey(_))))
}
