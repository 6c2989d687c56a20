//! Refreshes with cookies.

use std::time::Duration;

use crate::support::TestApp;
use crate::support::client::Call;
use crate::support::jar::{HTTPS, Jar, log_in};

use super::{assert_empties, set, start};

#[tokio::test]
async fn only_a_final_refresh_error_clears_the_cookies() {
    let app = TestApp::with(|config| {
        config.public_url = HTTPS.into();
        config.limits.refresh_burst = 2;
        config.limits.refresh_per_minute = 1;
    })
    .await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    jar.refresh(&app).await.assert_status(200);
    jar.refresh(&app).await.assert_status(200);
    assert_eq!(set(&jar.refresh(&app).await.assert_problem(429, "rate_limited")), [""; 0]);

    let ended = Jar::log_in(&app, &user.email).await;
    ended.own(app.post("/logout")).send().await.assert_status(204);
    assert_empties(&ended.refresh(&app).await.assert_ended("logout"), &ended);
    let mut mangled = ended.clone();
    mangled.0.values_mut().for_each(|value| value.push('x'));
    assert_empties(&mangled.refresh(&app).await.assert_ended("unknown_token"), &mangled);
    // A page cannot see that it has none.
    let nobody = app.post("/refresh").header("sec-fetch-site", "same-origin").send().await;
    assert_eq!(set(&nobody.assert_problem(401, "missing_token")), [""; 0]);
}

#[tokio::test]
async fn a_stolen_cookie_is_detected_like_any_refresh_token() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut owner = Jar::log_in(&app, &user.email).await;
    let mut thief = owner.clone();
    for _ in 0..2 {
        app.advance(31);
        thief.keep(&thief.refresh(&app).await.assert_status(200));
    }
    let noticed = owner.refresh(&app).await.assert_ended("refresh_token_reused");
    assert_empties(&noticed, &owner);
    owner.keep(&noticed);
    thief.me(&app).await.assert_problem(401, "token_revoked");
    thief.refresh(&app).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn the_requests_cookie_proves_a_known_device() {
    let app = TestApp::with(|config| {
        config.public_url = HTTPS.into();
        config.limits.failed_logins_per_address = 2;
        config.limits.failed_logins_per_account = 2;
        config.limits.known_address_lifetime = Duration::ZERO;
    })
    .await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    for _ in 0..2 {
        app.log_in(&user.email, "not the password").await.assert_status(401);
    }
    let own = |call: Call| call.header("sec-fetch-site", "same-origin");
    let stranger = own(log_in(&app, &user.email)).send().await;
    stranger.assert_problem(429, "too_many_failed_logins");
    let answer = jar.own(log_in(&app, &user.email)).send().await.assert_status(200);
    let mut after = jar.clone();
    after.keep(&answer);
    assert_eq!(after.refresh_names().len(), 1, "the previous session was replaced");
}
