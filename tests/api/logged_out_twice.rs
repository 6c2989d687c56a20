//! A client that has lost the response to a logout of all sessions repeats the request.

use crate::support::TestApp;
use crate::support::jar::{HTTPS, Jar};

#[tokio::test]
async fn a_repeated_logout_of_all_sessions_succeeds_with_the_old_access_token() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    for _ in 0..2 {
        user.log_out_scope("all").await.assert_status(204);
    }
    let again = app.post("/logout?scope=all").bearer(&other.access);
    again.send().await.assert_status(204);
    assert!(app.live_sessions(&user.id).await.is_empty());
}

#[tokio::test]
async fn with_cookies_the_repeated_logout_clears_them() {
    let app = TestApp::with(|config| config.public_url = HTTPS.into()).await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    for _ in 0..2 {
        let mut left = jar.clone();
        left.keep(&jar.own(app.post("/logout?scope=all")).send().await.assert_status(204));
        assert!(left.0.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_session_that_is_still_live_is_not_reported_as_ended() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    // One session alone was logged out.
    app.post("/logout").bearer(&other.access).send().await.assert_status(204);
    let all = || app.post("/logout?scope=all").bearer(&other.access);
    all().send().await.assert_problem(401, "token_revoked");
    app.me(&user.tokens.access).await.assert_status(200);
    // All were, and another has begun since.
    user.log_out_scope("all").await.assert_status(204);
    let since = user.another_session().await;
    all().send().await.assert_problem(401, "token_revoked");
    app.me(&since.access).await.assert_status(200);
    // The revocation of a single token does not end its session.
    let form = [("token", since.access.as_str())];
    app.post("/revoke").form(&form).send().await.assert_status(200);
    user.log_out_scope("all").await.assert_problem(401, "token_revoked");
    let alone = app.post("/logout?scope=all").bearer(&since.access).send().await;
    alone.assert_problem(401, "token_revoked");
}
