//! Every operation that takes a password shares the guesses of the account.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::app::behind_a_proxy;
use crate::support::{PASSWORD, TestApp};

use super::{
    ELSEWHERE, NEW_PASSWORD, WRONG, log_in_from, log_in_with_device, patient, retry_after,
};

#[tokio::test]
async fn every_password_endpoint_shares_the_limit() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        config.limits.failed_logins_per_address = 6;
        config.limits.failed_logins_per_account = 6;
    })
    .await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    for _ in 0..3 {
        user.change_password(WRONG, NEW_PASSWORD).await.assert_problem(403, "wrong_password");
        user.close(WRONG).await.assert_problem(403, "wrong_password");
    }
    // The session's own six are used up. Then attempts from its network, which is known; a wrong
    // one gets the same answer as everywhere else.
    let before = app.hashed();
    for _ in 0..3 {
        user.change_password(WRONG, NEW_PASSWORD).await.assert_status(429);
        user.close(WRONG).await.assert_status(429);
    }
    assert_eq!(app.hashed() - before, 6);
    let before = app.hashed();
    for refused in [
        user.change_password(PASSWORD, NEW_PASSWORD).await,
        user.close(PASSWORD).await,
        app.log_in(&user.email, PASSWORD).await,
    ] {
        assert!(retry_after(&refused.assert_problem(429, "too_many_failed_logins")) >= 1);
    }
    assert_eq!(app.hashed(), before);
    // They count for the account, so unknown sources have reached its limit.
    let refused = log_in_from(&app, ELSEWHERE, &user.email, PASSWORD).await;
    refused.assert_problem(429, "too_many_failed_logins");
    user.me().await.assert_status(200);
    // Holding only an access token does not use up the device's limit.
    log_in_with_device(&app, ELSEWHERE, &user.email, PASSWORD, &user.tokens.refresh)
        .await
        .assert_status(200);
    // Another device of the owner is not affected.
    let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    let request = app.post("/me/password").bearer(&other.access).json(&body);
    request.send().await.assert_status(200);
}

#[tokio::test]
async fn parallel_guesses_at_the_present_password_count_each() {
    let app = TestApp::with(patient).await;
    let user = app.signed_up().await;
    let before = app.hashed();
    join_all((0..25).map(|_| user.change_password(WRONG, NEW_PASSWORD))).await;
    join_all((0..25).map(|_| user.close(WRONG))).await;
    assert_eq!(app.hashed() - before, 20, "ten for the session, and ten for its network");
}

#[tokio::test]
async fn a_successful_password_change_counts_as_no_failure() {
    let app = TestApp::with(|config| config.limits.failed_logins_per_address = 2).await;
    let mut user = app.signed_up().await;
    for _ in 0..3 {
        user.tokens = user.change_password(PASSWORD, NEW_PASSWORD).await.tokens();
        user.tokens = user.change_password(NEW_PASSWORD, PASSWORD).await.tokens();
    }
}
