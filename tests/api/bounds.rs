//! What there is at most of, and what happens then.

use serde_json::json;

use crate::support::{Answer, PASSWORD, TestApp};

#[tokio::test]
async fn a_full_list_of_revocations_takes_no_more_and_what_is_refused_stays_as_it_was() {
    let app = TestApp::with(|config| config.revocations.max_entries = 4).await;
    let mut user = app.signed_up().await;
    let others = [app.signed_up().await, app.signed_up().await, app.signed_up().await];
    // Half of it is for sessions.
    for other in &others[..2] {
        revoke(&app, &other.tokens.access).await.assert_status(200);
    }
    let refused = revoke(&app, &user.tokens.access).await;
    let refused = refused.assert_oauth(503, "temporarily_unavailable");
    assert!(refused.header("retry-after").is_some());
    user.me().await.assert_status(200);
    for other in &others[1..] {
        revoke(&app, &other.tokens.refresh).await.assert_status(200);
    }

    // Nothing of what ends a session is half done.
    let first = user.tokens.refresh.clone();
    for _ in 0..2 {
        app.advance(31);
        user.refresh().await.assert_status(200);
    }
    let password = json!({ "current_password": PASSWORD, "new_password": "nine owls fold paper" });
    let bearer = |path| app.post(path).bearer(&user.tokens.access);
    for call in [
        bearer("/logout"),
        bearer("/logout?scope=all"),
        bearer("/me/password").json(&password),
        bearer("/me/close").json(&json!({ "password": PASSWORD })),
        app.post("/refresh").json(&json!({ "refresh_token": first })),
    ] {
        let answer = call.send().await.assert_problem(503, "unavailable");
        assert_eq!(answer.body["transient"], true);
        user.me().await.assert_status(200);
    }
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
    user.refresh().await.assert_status(200);
    // What is listed already needs no place.
    revoke(&app, &others[0].tokens.access).await.assert_status(200);

    // Until others have expired: the token's life, the verifiers' leeway and the margin.
    app.advance(600 + 30 + 60 + 1);
    while app.api.revocations.purge().await.unwrap() {}
    user.refresh().await.assert_status(200);
    user.log_out().await.assert_status(204);
    user.me().await.assert_problem(401, "token_revoked");
}

async fn revoke(app: &TestApp, token: &str) -> Answer {
    app.post("/revoke").form(&[("token", token)]).send().await
}
