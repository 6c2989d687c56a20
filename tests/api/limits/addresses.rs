//! Rate limits per client address, and which address counts as the client's.

use serde_json::json;

use crate::support::app::behind_a_proxy;
use crate::support::{PASSWORD, TestApp};

use super::{ELSEWHERE, NEW_PASSWORD, WRONG, log_in_from, retry_after};

#[tokio::test]
async fn an_address_has_a_limited_number_of_requests_with_a_password() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        config.limits.login_burst = 4;
        config.limits.login_per_minute = 1;
    })
    .await;
    let user = app.signed_up().await;
    app.log_in(&user.email, WRONG).await.assert_status(401);
    app.log_in("nobody@example.com", WRONG).await.assert_status(401);
    user.change_password(WRONG, NEW_PASSWORD).await.assert_status(403);

    let before = app.hashed();
    let refused = app.log_in(&user.email, PASSWORD).await;
    assert_eq!(refused.body["error"], "temporarily_unavailable");
    for refused in [
        refused,
        user.change_password(PASSWORD, NEW_PASSWORD).await,
        user.close(PASSWORD).await,
        app.post("/login").body("application/json", "{").send().await,
    ] {
        let refused = refused.assert_problem(429, "rate_limited");
        assert_eq!(refused.body["transient"], true);
        assert!((1..=60).contains(&retry_after(&refused)));
    }
    assert_eq!(app.hashed(), before, "nothing was hashed");
    app.call("GET", "/login").send().await.assert_status(405);

    log_in_from(&app, ELSEWHERE, &user.email, PASSWORD).await.assert_status(200);
    user.me().await.assert_status(200);
    app.refresh(&user.tokens.refresh).await.assert_status(200);
    app.register("ada@example.com", PASSWORD).await.assert_status(201);
}

#[tokio::test]
async fn an_address_has_a_limited_number_of_registrations() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        config.limits.register_burst = 3;
        config.limits.register_per_minute = 1;
    })
    .await;
    app.register("ada@example.com", PASSWORD).await.assert_status(201);
    app.register("ada@example.com", PASSWORD).await.assert_status(409);
    app.register("ada", PASSWORD).await.assert_status(422);
    let refused = app.register("bob@example.com", PASSWORD).await;
    let refused = refused.assert_problem(429, "rate_limited");
    assert!((1..=60).contains(&retry_after(&refused)));

    app.log_in("ada@example.com", PASSWORD).await.assert_status(200);
    let body = json!({ "email": "bob@example.com", "password": PASSWORD });
    let request = app.post("/register").header("x-forwarded-for", ELSEWHERE).json(&body);
    request.send().await.assert_status(201);
}

#[tokio::test]
async fn an_ipv6_network_is_one_client() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        config.limits.login_burst = 2;
        config.limits.login_per_minute = 1;
        config.limits.failed_logins_per_address = 1;
    })
    .await;
    let guess = async |address: &str, email: &str| log_in_from(&app, address, email, WRONG).await;
    guess("2001:db8:0:1::1", "ada@example.com").await.assert_status(401);
    let refused = guess("2001:db8:0:1:ffff::2", "ada@example.com").await;
    refused.assert_problem(429, "too_many_failed_logins");
    guess("2001:db8:0:1::3", "bob@example.com").await.assert_problem(429, "rate_limited");
    guess("2001:db8:0:2::1", "ada@example.com").await.assert_status(401);
    // An IPv4 address is the same in both of its forms.
    guess("192.0.2.9", "ada@example.com").await.assert_status(401);
    let refused = guess("::ffff:192.0.2.9", "ada@example.com").await;
    refused.assert_problem(429, "too_many_failed_logins");
}

#[tokio::test]
async fn an_untrusted_peer_cannot_forge_its_address() {
    let app = TestApp::with(|config| {
        config.limits.login_burst = 3;
        config.limits.login_per_minute = 1;
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    for n in 0..3 {
        let answer = log_in_from(&app, &format!("192.0.2.{n}"), "ada@example.com", WRONG).await;
        answer.assert_status(401);
    }
    let refused = log_in_from(&app, "192.0.2.3", "ada@example.com", WRONG).await;
    refused.assert_problem(429, "rate_limited");
}

#[tokio::test]
async fn behind_a_proxy_only_the_rightmost_foreign_address_counts() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        config.limits.login_burst = 3;
        config.limits.login_per_minute = 1;
    })
    .await;
    for n in 0..3 {
        let forwarded = format!("198.51.100.{n}, {ELSEWHERE}, 127.0.0.1");
        log_in_from(&app, &forwarded, "ada@example.com", WRONG).await.assert_status(401);
    }
    let refused = log_in_from(&app, "198.51.100.3, 192.0.2.1", "ada@example.com", WRONG).await;
    refused.assert_problem(429, "rate_limited");
}
