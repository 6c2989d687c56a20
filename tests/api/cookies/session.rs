//! A session of cookies: requests, logouts.

use serde_json::json;

use crate::support::PASSWORD;
use crate::support::jar::Jar;

use super::{NEW_PASSWORD, assert_empties, set, start};

#[tokio::test]
async fn every_resource_with_a_token_accepts_it_in_a_cookie() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut jar = Jar::log_in(&app, &user.email).await;
    let listed = jar.own(app.get("/sessions")).send().await.assert_status(200);
    assert_eq!(listed.body["sessions"].as_array().unwrap().len(), 2);
    let end = app.call("DELETE", &format!("/sessions/{}", user.tokens.session));
    jar.own(end).send().await.assert_status(204);
    user.me().await.assert_problem(401, "token_revoked");
    jar.own(app.get("/verify").header("x-original-method", "POST")).send().await.assert_status(200);

    let before = jar.clone();
    let refreshed = jar.refresh(&app).await.assert_status(200);
    assert_eq!(refreshed.body["generation"], 1);
    assert!(refreshed.body.get("refresh_token").is_none());
    jar.keep(&refreshed);
    assert_eq!(jar.refresh_names().len(), 1, "the previous one was cleared");
    assert_ne!(jar.refresh_names(), before.refresh_names());

    let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    let changed = jar.own(app.post("/me/password")).json(&body).send().await.assert_status(200);
    assert!(changed.body.get("access_token").is_none());
    let old = jar.clone();
    jar.keep(&changed);
    assert_eq!(jar.refresh_names().len(), 1);
    old.me(&app).await.assert_problem(401, "token_revoked");
    jar.me(&app).await.assert_status(200);

    let close = jar.own(app.post("/me/close")).json(&json!({ "password": NEW_PASSWORD }));
    assert_empties(&close.send().await.assert_status(204), &jar);
    jar.me(&app).await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn only_a_refresh_replaces_an_access_cookie_that_the_browser_dropped() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut jar = Jar::log_in(&app, &user.email).await;
    app.advance(600);
    let expired = jar.me(&app).await.assert_problem(401, "token_expired");
    assert_eq!(set(&expired), [""; 0], "no refresh without the page's request");
    jar.0.remove("__Host-doorward-access");
    let missing = jar.me(&app).await.assert_problem(401, "missing_token");
    assert_eq!(set(&missing), [""; 0]);
    jar.keep(&jar.refresh(&app).await.assert_status(200));
    jar.me(&app).await.assert_status(200);
    // An empty object is equivalent to an empty body.
    jar.own(app.post("/refresh")).json(&json!({})).send().await.assert_status(200);
}

#[tokio::test]
async fn a_logout_clears_the_cookies_in_every_state_of_the_session() {
    let app = start().await;
    let user = app.signed_up().await;
    let log_out = async |jar: &Jar| jar.own(app.post("/logout")).send().await;
    let jar = Jar::log_in(&app, &user.email).await;
    assert_empties(&log_out(&jar).await.assert_status(204), &jar);
    jar.me(&app).await.assert_problem(401, "token_revoked");
    // Again, as on a double click: the access token is gone, the refresh token is enough.
    assert_empties(&log_out(&jar).await.assert_status(204), &jar);
    let mut bare = jar.clone();
    bare.0.retain(|name, _| name == "__Host-doorward-access");
    assert_empties(&log_out(&bare).await.assert_status(204), &bare);

    let mut jar = Jar::log_in(&app, &user.email).await;
    jar.0.remove("__Host-doorward-access");
    assert_empties(&log_out(&jar).await.assert_status(204), &jar);
    assert_empties(&jar.refresh(&app).await.assert_ended("logout"), &jar);
    app.post("/logout").send().await.assert_problem(401, "missing_token");
}

#[tokio::test]
async fn the_scopes_of_a_logout_are_the_same_with_cookies() {
    let app = start().await;
    for (scope, stays) in [("others", true), ("all", false)] {
        let user = app.signed_up().await;
        let (jar, other) =
            (Jar::log_in(&app, &user.email).await, Jar::log_in(&app, &user.email).await);
        let path = format!("/logout?scope={scope}");
        // Without an access token it takes a refresh first, and so the cookies stay.
        let mut bare = jar.clone();
        bare.0.remove("__Host-doorward-access");
        let refused = bare.own(app.post(&path)).send().await;
        assert_eq!(set(&refused.assert_problem(401, "missing_token")), [""; 0]);
        let answer = jar.own(app.post(&path)).send().await.assert_status(204);
        other.me(&app).await.assert_problem(401, "token_revoked");
        user.me().await.assert_problem(401, "token_revoked");
        if stays {
            assert_eq!(set(&answer), [""; 0]);
            jar.me(&app).await.assert_status(200);
        } else {
            assert_empties(&answer, &jar);
            jar.me(&app).await.assert_problem(401, "token_revoked");
        }
    }
}
