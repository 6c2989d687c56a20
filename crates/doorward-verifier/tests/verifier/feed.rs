//! Malformed and silent feeds.

use std::time::Duration;

use doorward_verifier::VerifyError;
use serde_json::json;

use super::issuer::{FEED, Issuer, NOW, ok, status};
use super::{builder, until, verdict, verifier};

const CURRENT: &str = "event: current\ndata: {\"age\":0}\n\n";

#[tokio::test]
async fn garbage_is_never_taken_for_an_event_and_breaks_nothing() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let claims = issuer.claims();
    let token = issuer.sign(&claims);
    issuer.revoke(&claims.jti.to_string());
    until(|| verdict(&verifier, &token) == Err(VerifyError::Revoked)).await;
    let revoked = |data: &str| format!("event: revoked\nid: 1-7\ndata: {data}\n\n");
    for garbage in [
        revoked("not JSON").into_bytes(),
        revoked("{}").into_bytes(),
        revoked("[{\"id\":\"a\"}]").into_bytes(),
        revoked("[{\"id\":7,\"exp\":1}]").into_bytes(),
        revoked("[{\"id\":\"a\",\"exp\":\"soon\"}]").into_bytes(),
        revoked("[{\"id\":\"a\",\"exp\":1e400}]").into_bytes(),
        revoked("[{\"id\":\"a\",\"exp\":1}").into_bytes(),
        revoked(&"[".repeat(100_000)).into_bytes(),
        revoked("[\"\u{fffd}\"]").replace('\u{fffd}', "\\ud800").into_bytes(),
        b"event: revoked\ndata: \xff\xfe\n\n".to_vec(),
        b"event: current\ndata: {}\n\n".to_vec(),
        b"event: current\ndata: {\"age\":-1}\n\n".to_vec(),
        b"event: current\ndata: {\"age\":\"0\"}\n\n".to_vec(),
        b"event: current\ndata: {\"age\":1e300}\n\n".to_vec(),
        b"event: current\ndata: {\"age\":NaN}\n\n".to_vec(),
        vec![b'x'; 5_000_000],
    ] {
        let name = String::from_utf8_lossy(&garbage[..garbage.len().min(60)]).into_owned();
        // Past the limit; in total still within the token's lifetime.
        issuer.clock.advance(Duration::from_secs(31));
        let garbage = [garbage.as_slice(), CURRENT.as_bytes()].concat();
        issuer.set(|state| state.feed = Some(garbage));
        issuer.drop_connections();
        let seen = issuer.requests(FEED).len();
        until(|| issuer.requests(FEED).len() >= seen + 2).await;
        assert_eq!(verdict(&verifier, &issuer.token()), Err(VerifyError::Stale), "{name}");
        // Missed events are not skipped: everything is requested again.
        let last = issuer.requests(FEED).pop().unwrap();
        assert_eq!(last.headers.get("last-event-id"), None, "{name}");

        issuer.set(|state| state.feed = None);
        issuer.drop_connections();
        until(|| verdict(&verifier, &issuer.token()) == Ok(())).await;
        assert_eq!(verdict(&verifier, &token), Err(VerifyError::Revoked), "{name}");
    }
}

#[tokio::test]
async fn an_endless_line_is_aborted() {
    let issuer = Issuer::start().await;
    for endless in
        [vec![b'x'; 65_536], format!("data: {}\n", "x".repeat(1_000)).repeat(10).into_bytes()]
    {
        issuer.set(|state| (state.feed, state.is_endless) = (Some(endless), true));
        let verifier = builder(&issuer).start().await.unwrap();
        until(|| verifier.last_error().is_some_and(|text| text.contains("too long"))).await;
        assert!(!verifier.is_ready());
        issuer.set(|state| (state.feed, state.is_endless) = (None, false));
        verifier.ready().await;
    }
}

#[tokio::test]
async fn comments_and_events_of_later_versions_are_ignored() {
    let issuer = Issuer::start().await;
    let claims = issuer.claims();
    let entry = json!([{ "id": claims.jti, "exp": NOW + 600, "why": "logout" }]);
    let feed = format!(
        ": hello\n\nevent: news\ndata: {{}}\n\ndata: x\n\nevent: snapshot\ndata: {entry}\n\n{CURRENT}"
    );
    issuer.set(|state| state.feed = Some(feed.into_bytes()));
    let verifier = verifier(&issuer).await;
    assert_eq!(verdict(&verifier, &issuer.sign(&claims)), Err(VerifyError::Revoked));
    assert_eq!(verdict(&verifier, &issuer.token()), Ok(()));
    assert_eq!(verifier.last_error(), None);
}

#[tokio::test]
async fn a_snapshot_without_current_is_not_enough() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.has_heartbeat = false);
    issuer.revoke("something");
    let verifier = builder(&issuer).start().await.unwrap();
    until(|| format!("{verifier:?}").contains("revocations: 1")).await;
    assert_eq!(verdict(&verifier, &issuer.token()), Err(VerifyError::NotReady));
    issuer.set(|state| state.has_heartbeat = true);
    verifier.ready().await;
}

#[tokio::test]
async fn a_stream_from_before_a_suspend_is_not_trusted() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    // As after the machine was suspended: the next `current` may have been buffered since then.
    issuer.clock.advance(Duration::from_secs(3600));
    assert_eq!(verdict(&verifier, &issuer.token()), Err(VerifyError::Stale));
    until(|| verdict(&verifier, &issuer.token()) == Ok(())).await;
    assert_eq!(issuer.requests(FEED).len(), 2);
}

#[tokio::test]
async fn responses_that_are_not_a_stream_are_rejected() {
    let issuer = Issuer::start().await;
    for answer in [ok("text/html", "", CURRENT), ok("application/json", "", "[]"), status("204 No")]
    {
        issuer.set(|state| state.answers.insert(FEED, answer));
        let verifier = builder(&issuer).start().await.unwrap();
        until(|| verifier.last_error().is_some()).await;
        assert_eq!(verdict(&verifier, &issuer.token()), Err(VerifyError::NotReady));
        issuer.set(|state| state.answers.clear());
        verifier.ready().await;
    }
}

#[tokio::test]
async fn the_issuer_says_how_long_to_wait() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.retry = Some(1_500));
    let verifier = verifier(&issuer).await;
    let clock = doorward_tokens::clock::Clock::system();
    let began = clock.monotonic();
    issuer.drop_connections();
    until(|| issuer.requests(FEED).len() == 2).await;
    assert!(clock.monotonic() - began >= Duration::from_millis(1_400));
    verifier.ready().await;
}
