//! Which sessions make a network known.

use serde_json::json;

use crate::support::{PASSWORD, TestApp};

use super::{
    ELSEWHERE, HOME, exhaust_the_account_limit, log_in_from, log_in_with_device, signed_up_at_home,
    under_attack,
};

#[tokio::test]
async fn an_address_is_known_for_ninety_days_unless_a_reuse_or_password_change_ended_its_session() {
    let app = TestApp::with(under_attack).await;
    let (email, tokens) = signed_up_at_home(&app).await;
    let at = async |address: &str| log_in_from(&app, address, &email, PASSWORD).await;
    let may_still = async |address: &str| {
        exhaust_the_account_limit(&app, &email).await;
        let status = at(address).await.status;
        // Full again.
        app.advance(900);
        status == 200
    };
    app.post("/logout").bearer(&tokens.access).send().await.assert_status(204);
    assert!(may_still(HOME).await, "after a logout");

    let stolen = at("203.0.113.8").await.tokens();
    let mut last = stolen.refresh.clone();
    for _ in 0..2 {
        let body = json!({ "refresh_token": last });
        let request = app.post("/refresh").header("x-forwarded-for", "203.0.113.8").json(&body);
        last = request.send().await.tokens().refresh;
        app.advance(31);
    }
    app.refresh(&stolen.refresh).await.assert_ended("refresh_token_reused");
    assert!(!may_still("203.0.113.8").await, "after a reuse");

    at("203.0.113.9").await.assert_status(200);
    let present = at("203.0.113.10").await.tokens();
    let body = json!({ "current_password": PASSWORD, "new_password": format!("{PASSWORD}!") });
    let request = app.post("/me/password").header("x-forwarded-for", "203.0.113.11");
    let changed = request.bearer(&present.access).json(&body).send().await;
    changed.assert_status(200);
    let body = json!({ "current_password": format!("{PASSWORD}!"), "new_password": PASSWORD });
    let tokens = log_in_from(&app, "203.0.113.12", &email, &format!("{PASSWORD}!")).await.tokens();
    let request = app.post("/me/password").header("x-forwarded-for", "203.0.113.13");
    let changed = request.bearer(&tokens.access).json(&body).send().await.tokens();
    for address in ["203.0.113.9", "203.0.113.10", "203.0.113.11", "203.0.113.12"] {
        assert!(!may_still(address).await, "{address}, after a change of password");
    }
    // The logout of the first session came before the change, and was not suspicious.
    assert!(may_still(HOME).await, "still");
    assert!(may_still("203.0.113.13").await, "on the device of the change");

    let at_home = log_in_from(&app, "203.0.113.20", &email, PASSWORD).await.tokens();
    app.post("/logout").bearer(&at_home.access).send().await.assert_status(204);
    app.advance(90 * 86400 - 1);
    exhaust_the_account_limit(&app, &email).await;
    at("203.0.113.20").await.assert_status(200);
    app.advance(90 * 86400);
    exhaust_the_account_limit(&app, &email).await;
    at("203.0.113.20").await.assert_problem(429, "too_many_failed_logins");
    let known = log_in_with_device(&app, ELSEWHERE, &email, PASSWORD, &changed.refresh).await;
    known.assert_status(200);
}
