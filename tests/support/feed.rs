//! The revocation feed, and a verifier that subscribes to it.

use std::time::Duration;

use doorward::clock::Clock;
use doorward_verifier::{Verifier, VerifyError};

use crate::support::postgres::number_of;
use crate::support::{TestApp, until};

/// The time in which a subscriber learns of a logout, on a machine that is busy with other tests.
pub const HEARD: Duration = Duration::from_secs(4);

/// Logs out repeatedly, 40 times or as often as `DOORWARD_TEST_LOGOUTS` says. A verifier must
/// reject in time, and keep rejecting.
pub async fn log_out_and_be_heard(whose: &str, app: &TestApp, verifier: &Verifier) {
    let clock = Clock::system();
    let user = app.signed_up().await;
    let (mut took, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..number_of("DOORWARD_TEST_LOGOUTS").unwrap_or(40) {
        let tokens = user.another_session().await;
        verifier.verify_or_refetch(&tokens.access).await.unwrap();
        app.post("/logout").bearer(&tokens.access).send().await.assert_status(204);
        let acknowledged = clock.monotonic();
        until(async || verifier.verify(&tokens.access).is_err()).await;
        took.push(clock.monotonic() - acknowledged);
        gone.push(tokens);
    }
    for tokens in &gone {
        assert_eq!(verifier.verify(&tokens.access), Err(VerifyError::Revoked));
    }
    took.sort();
    let (half, nearly_all, most) =
        (took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]);
    println!(
        "{whose} verifier: {} logouts, p50 {half:.1?}, p99 {nearly_all:.1?}, at most {most:.1?}",
        took.len()
    );
    assert!(most < HEARD, "{most:?}");
}

/// A verifier that subscribes to this node, and is up to date.
pub async fn verifier(app: &TestApp) -> Verifier {
    let service = app.service(&[]).await;
    let verifier = Verifier::builder(&app.api.issuer)
        .audience("doorward")
        .client(&service.id, &service.secret)
        .clock(app.clock.clone())
        .start()
        .await
        .unwrap();
    verifier.ready().await;
    verifier
}

/// Returns when the list has been read by a poll that began after this call.
pub async fn looked_again(app: &TestApp) {
    let now = app.clock.monotonic();
    until(async || app.api.revocations.staleness() < app.clock.monotonic() - now).await;
}
