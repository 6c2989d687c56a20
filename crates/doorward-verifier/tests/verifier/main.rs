//! The verifier library, against a minimal test issuer, over real HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot continue has \
                                                              failed"
)]

#[path = "../../../../tests/support/jwt.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod jwt;

mod clock;
mod discovery;
mod doors;
mod feed;
mod issuer;
mod keys;
mod node;
mod revocation;
mod tokens;
mod tree;

use std::time::Duration;

use doorward_verifier::{Builder, Verifier, VerifyError};
use issuer::{AUDIENCE, CLIENT, Issuer};

/// Settings for an issuer.
fn builder(issuer: &Issuer) -> Builder {
    Verifier::builder(&issuer.url)
        .audience(AUDIENCE)
        .client(CLIENT.0, CLIENT.1)
        .clock(issuer.clock.clone())
}

/// A verifier that is ready.
async fn verifier(issuer: &Issuer) -> Verifier {
    started(builder(issuer)).await
}

async fn started(builder: Builder) -> Verifier {
    let verifier = builder.start().await.unwrap();
    let ready = tokio::time::timeout(Duration::from_secs(10), verifier.ready()).await;
    assert!(ready.is_ok(), "not ready: {:?}", verifier.last_error());
    verifier
}

/// The verdict on a token, without its claims.
fn verdict(verifier: &Verifier, token: &str) -> Result<(), VerifyError> {
    verifier.verify(token).map(drop)
}

/// Waits for the effect of other tasks.
#[track_caller]
fn until(condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let mut condition = condition;
        let met = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), met).await;
        assert!(waited.is_ok(), "still waiting at {caller}");
    }
}
