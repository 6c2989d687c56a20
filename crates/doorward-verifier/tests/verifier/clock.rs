//! A verifier whose clock is set to a wrong time and back accepts no token that was revoked
//! meanwhile.

use std::time::Duration;

use doorward_tokens::clock::{Clock, Timestamp};
use doorward_verifier::{StalePolicy, VerifyError};

use super::issuer::{FEED, Issuer, NOW};
use super::{builder, started, until, verdict};

const HOUR: Duration = Duration::from_secs(3600);

/// The verifier's own clock; the issuer's is right.
fn clock() -> Clock {
    Clock::manual(Timestamp::from_unix_seconds(NOW))
}

fn last_event_ids(issuer: &Issuer) -> Vec<String> {
    let requests = issuer.requests(FEED);
    let id = |at: usize| requests[at].headers.get("last-event-id").cloned().unwrap_or_default();
    (0..requests.len()).map(id).collect()
}

#[tokio::test]
async fn a_clock_that_jumps_forward_and_back_makes_no_revoked_token_valid() {
    for policy in [StalePolicy::FailClosed, StalePolicy::FailOpen] {
        let (issuer, clock) = (Issuer::start().await, clock());
        let verifier = started(builder(&issuer).clock(clock.clone()).when_stale(policy)).await;
        let (before, meanwhile) = (issuer.claims(), issuer.claims());
        let (before, meanwhile, good) = (
            (before.jti, issuer.sign(&before)),
            (meanwhile.sid, issuer.sign(&meanwhile)),
            issuer.token(),
        );
        issuer.revoke(&before.0.to_string());
        until(|| verdict(&verifier, &before.1) == Err(VerifyError::Revoked)).await;
        assert_eq!(verdict(&verifier, &meanwhile.1), Ok(()));

        clock.set_ahead(HOUR);
        until(|| issuer.requests(FEED).len() == 2 && verifier.staleness() < HOUR).await;
        issuer.revoke(&meanwhile.0.unwrap().to_string());
        // By the wrong clock all of them have expired; this one comes after it and has not.
        let last = issuer.set(|state| {
            state.revoked.push(("last".into(), NOW + 100_000));
            state.revoked.len()
        });
        until(|| format!("{verifier:?}").contains(&format!("revocations: {last}"))).await;
        clock.set_ahead(Duration::ZERO);
        until(|| {
            for revoked in [&before.1, &meanwhile.1] {
                let verdict = verdict(&verifier, revoked);
                assert!(verdict.is_err(), "{policy:?}: {verdict:?}");
            }
            issuer.requests(FEED).len() == 3 && verifier.staleness() < HOUR
        })
        .await;
        assert_eq!(verdict(&verifier, &good), Ok(()));
        for revoked in [&before.1, &meanwhile.1] {
            assert_eq!(verdict(&verifier, revoked), Err(VerifyError::Revoked), "{policy:?}");
        }
        assert_eq!(last_event_ids(&issuer), ["", "", ""], "everything is requested again");
    }
}

#[tokio::test]
async fn a_list_is_stale_from_a_jump_on_until_everything_was_sent_again() {
    // The clock is set forward, and back.
    for (first, then, is_stale) in [(0, 6, true), (6, 0, true), (0, 4, false), (4, 0, false)] {
        let [first, then] = [first, then].map(Duration::from_secs);
        let (issuer, clock) = (Issuer::start().await, clock());
        clock.set_ahead(first);
        let closed = started(builder(&issuer).clock(clock.clone())).await;
        let open = builder(&issuer).clock(clock.clone()).when_stale(StalePolicy::FailOpen);
        let open = started(open).await;
        let token = issuer.token();
        issuer.cut();
        until(|| closed.last_error().is_some() && open.last_error().is_some()).await;
        clock.set_ahead(then);
        let expected = if is_stale { Err(VerifyError::Stale) } else { Ok(()) };
        assert_eq!(verdict(&closed, &token), expected, "{first:?} to {then:?}");
        assert_eq!(closed.is_ready(), !is_stale);
        assert_eq!(verdict(&open, &token), Ok(()), "the policy is to continue");
        issuer.back();
        until(|| verdict(&closed, &token) == Ok(())).await;
        until(|| issuer.requests(FEED).len() == 4 && open.last_error().is_none()).await;
        let resumed = last_event_ids(&issuer)[2..].iter().filter(|id| !id.is_empty()).count();
        assert_eq!(resumed, if is_stale { 0 } else { 2 }, "{first:?} to {then:?}");
    }
}
