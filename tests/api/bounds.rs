//! Capacity limits, and the behaviour beyond them.

use crate::logout::of_server;
use crate::support::feed::looked_again;
use crate::support::{Answer, TestApp};

#[tokio::test]
async fn a_full_revocation_list_rejects_single_tokens_but_still_ends_sessions() {
    let app = TestApp::with(|config| config.revocations.max_entries = 2).await;
    let mut user = app.signed_up().await;
    let others = [app.signed_up().await, app.signed_up().await];
    for other in &others {
        revoke(&app, &other.tokens.access).await.assert_status(200);
    }
    let refused = revoke(&app, &user.tokens.access).await;
    let refused = refused.assert_oauth(503, "temporarily_unavailable");
    assert_eq!(refused.header("retry-after"), Some("60"));
    user.me().await.assert_status(200);
    // An entry that is listed already needs no space.
    revoke(&app, &others[0].tokens.access).await.assert_status(200);
    let (logged_out, revoked) = (app.signed_up().await, app.signed_up().await);
    logged_out.log_out().await.assert_status(204);
    revoke(&app, &revoked.tokens.refresh).await.assert_status(200);
    for ended in [&logged_out, &revoked] {
        ended.me().await.assert_problem(401, "token_revoked");
    }

    // Until others have expired: the token's lifetime, the verifiers' leeway and the margin.
    app.advance(600 + 30 + 60 + 1 + of_server(&app));
    while app.api.revocations.purge(app.clock.now()).await.unwrap() {}
    // A poll of the database that was in progress may have listed them once more.
    looked_again(&app).await;
    while app.api.revocations.purge(app.clock.now()).await.unwrap() {}
    user.refresh().await.assert_status(200);
    revoke(&app, &user.tokens.access).await.assert_status(200);
    user.me().await.assert_problem(401, "token_revoked");
}

async fn revoke(app: &TestApp, token: &str) -> Answer {
    app.post("/revoke").form(&[("token", token)]).send().await
}
