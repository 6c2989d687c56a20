//! A revoked token is rejected: at once, after a disconnection, and from the first request on.

use std::time::Duration;

use doorward_verifier::{StalePolicy, VerifyError};

use super::issuer::{FEED, Issuer};
use super::{builder, started, until, verdict, verifier};

#[tokio::test]
async fn a_token_is_revoked_by_each_of_its_names() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    for name in ["jti", "sid", "client_id", "kid"] {
        let mut claims = issuer.claims();
        if name == "client_id" {
            claims.client_id = "another".into();
        }
        let (seen, unseen) = (issuer.sign(&claims), issuer.sign(&claims));
        assert_eq!(verdict(&verifier, &seen), Ok(()));
        let id = match name {
            "jti" => claims.jti.to_string(),
            "sid" => claims.sid.unwrap().to_string(),
            "client_id" => claims.client_id.clone(),
            _ => issuer.key().kid().to_owned(),
        };
        issuer.revoke(&id);
        until(|| verdict(&verifier, &seen) == Err(VerifyError::Revoked)).await;
        assert_eq!(verdict(&verifier, &unseen), Err(VerifyError::Revoked), "{name}");
        if name != "kid" {
            assert_eq!(verdict(&verifier, &issuer.token()), Ok(()), "{name}");
        }
    }
}

#[tokio::test]
async fn another_id_revokes_nothing() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let claims = issuer.claims();
    let token = issuer.sign(&claims);
    for id in [
        claims.sub.to_string(),
        claims.sid.unwrap().to_string().to_uppercase(),
        claims.sid.unwrap().simple().to_string(),
        String::new(),
    ] {
        issuer.revoke(&id);
    }
    let last = issuer.claims();
    issuer.revoke(&last.jti.to_string());
    until(|| verdict(&verifier, &issuer.sign(&last)) == Err(VerifyError::Revoked)).await;
    assert_eq!(verdict(&verifier, &token), Ok(()));
}

#[tokio::test]
async fn a_fresh_verifier_refuses_from_its_first_answer() {
    let issuer = Issuer::start().await;
    let claims = issuer.claims();
    let token = issuer.sign(&claims);
    for n in 0..5_000 {
        issuer.revoke(&n.to_string());
    }
    issuer.revoke(&claims.sid.unwrap().to_string());
    for policy in [StalePolicy::FailClosed, StalePolicy::FailOpen] {
        let verifier = builder(&issuer).when_stale(policy).start().await.unwrap();
        until(|| match verdict(&verifier, &token) {
            Err(VerifyError::NotReady) => false,
            Err(VerifyError::Revoked) => true,
            other => panic!("{other:?}"),
        })
        .await;
        verifier.ready().await;
        assert_eq!(verdict(&verifier, &issuer.token()), Ok(()));
    }
}

#[tokio::test]
async fn a_verifier_that_was_cut_off_for_a_minute_accepts_nothing_before_it_knows_all() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let claims = issuer.claims();
    let (revoked, good) = (issuer.sign(&claims), issuer.token());
    for token in [&revoked, &good] {
        assert_eq!(verdict(&verifier, token), Ok(()));
    }
    issuer.cut();
    until(|| verifier.last_error().is_some()).await;
    issuer.clock.advance(Duration::from_secs(29));
    assert_eq!(verdict(&verifier, &good), Ok(()), "within the limit");
    issuer.revoke(&claims.sid.unwrap().to_string());
    issuer.clock.advance(Duration::from_secs(31));
    assert!(verifier.staleness() >= Duration::from_secs(60) && !verifier.is_ready());
    for token in [&revoked, &good, &issuer.token()] {
        assert_eq!(verdict(&verifier, token), Err(VerifyError::Stale));
        assert!(verdict(&verifier, token).unwrap_err().is_transient());
    }
    issuer.back();
    // From some time on one is valid, and the other one never.
    until(|| {
        let first = verdict(&verifier, &revoked);
        assert!(matches!(first, Err(VerifyError::Stale | VerifyError::Revoked)), "{first:?}");
        verdict(&verifier, &good).is_ok()
    })
    .await;
    assert_eq!(verdict(&verifier, &revoked), Err(VerifyError::Revoked));
    assert!(verifier.staleness() < Duration::from_secs(1));
}

#[tokio::test]
async fn failing_open_uses_the_known_list() {
    let issuer = Issuer::start().await;
    let verifier = started(builder(&issuer).when_stale(StalePolicy::FailOpen)).await;
    let claims = issuer.claims();
    let (revoked, good) = (issuer.sign(&claims), issuer.token());
    issuer.revoke(&claims.jti.to_string());
    until(|| verdict(&verifier, &revoked) == Err(VerifyError::Revoked)).await;
    issuer.cut();
    issuer.clock.advance(Duration::from_secs(300));
    assert!(verifier.staleness() >= Duration::from_secs(300) && verifier.is_ready());
    assert_eq!(verdict(&verifier, &revoked), Err(VerifyError::Revoked));
    assert_eq!(verdict(&verifier, &good), Ok(()));
}

#[tokio::test]
async fn the_age_that_the_issuer_admits_counts() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.age = 25.5);
    let verifier = verifier(&issuer).await;
    assert_eq!(verifier.staleness(), Duration::from_millis(25_500));
    assert_eq!(verdict(&verifier, &issuer.token()), Ok(()));
    issuer.clock.advance(Duration::from_secs(5));
    issuer.set(|state| state.age = 31.0);
    issuer.drop_connections();
    until(|| verdict(&verifier, &issuer.token()) == Err(VerifyError::Stale)).await;
}

#[tokio::test]
async fn a_stream_resumes_at_its_cursor_and_a_restart_resends_everything() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let refused = |claims| verdict(&verifier, &issuer.sign(claims)) == Err(VerifyError::Revoked);
    let (first, second, third) = (issuer.claims(), issuer.claims(), issuer.claims());
    issuer.revoke(&first.jti.to_string());
    until(|| refused(&first)).await;
    issuer.cut();
    issuer.revoke(&second.jti.to_string());
    issuer.back();
    until(|| refused(&second)).await;
    issuer.restart();
    issuer.revoke(&third.jti.to_string());
    until(|| refused(&third)).await;
    assert!(refused(&first) && refused(&second));
    let ids: Vec<_> = issuer
        .requests(FEED)
        .iter()
        .map(|request| request.headers.get("last-event-id").cloned().unwrap_or_default())
        .collect();
    assert_eq!(ids[..3], ["", "1-1", "1-2"]);
}

#[tokio::test]
async fn a_snapshot_that_lacks_an_id_makes_no_token_valid_again() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let claims = issuer.claims();
    let token = issuer.sign(&claims);
    issuer.revoke(&claims.jti.to_string());
    until(|| verdict(&verifier, &token) == Err(VerifyError::Revoked)).await;
    issuer.set(|state| state.revoked.clear());
    issuer.restart();
    until(|| issuer.requests(FEED).len() == 2).await;
    issuer.revoke("another");
    until(|| format!("{verifier:?}").contains("revocations: 2")).await;
    assert_eq!(verdict(&verifier, &token), Err(VerifyError::Revoked));
}

#[tokio::test]
async fn more_ids_than_may_be_kept_make_the_list_stale() {
    let issuer = Issuer::start().await;
    let verifier = started(builder(&issuer).max_revocations(100)).await;
    let first = issuer.claims();
    issuer.revoke(&first.jti.to_string());
    for n in 0..99 {
        issuer.revoke(&n.to_string());
    }
    until(|| format!("{verifier:?}").contains("revocations: 100")).await;
    assert_eq!(verdict(&verifier, &issuer.token()), Ok(()));
    issuer.revoke("one too many");
    until(|| verdict(&verifier, &issuer.token()) == Err(VerifyError::Stale)).await;
    assert_eq!(verdict(&verifier, &issuer.sign(&first)), Err(VerifyError::Revoked));
    assert_eq!(verifier.staleness(), Duration::MAX);
    // When they have expired there is space again.
    issuer.clock.advance(Duration::from_secs(700));
    issuer.set(|state| state.revoked.clear());
    issuer.restart();
    until(|| verdict(&verifier, &issuer.token()) == Ok(())).await;
}
