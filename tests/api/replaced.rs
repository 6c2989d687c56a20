//! A login with cookies in a browser that has a session ends that session.

use serde_json::json;

use crate::support::jar::{HTTPS, Jar, log_in};
use crate::support::{PASSWORD, TestApp};

async fn start() -> TestApp {
    TestApp::with(|config| config.public_url = HTTPS.into()).await
}

/// A login in the browser with these cookies.
async fn again(app: &TestApp, jar: &Jar, email: &str) -> Jar {
    let mut after = jar.clone();
    after.keep(&jar.own(log_in(app, email)).send().await.assert_status(200));
    after
}

#[tokio::test]
async fn a_new_login_ends_the_session_of_that_browser_and_no_other() {
    let app = start().await;
    let (user, other) = (app.signed_up().await, app.signed_up().await);
    let elsewhere = Jar::log_in(&app, &user.email).await;
    let first = Jar::log_in(&app, &user.email).await;
    let second = again(&app, &first, &user.email).await;
    first.me(&app).await.assert_problem(401, "token_revoked");
    first.refresh(&app).await.assert_ended("replaced");
    second.me(&app).await.assert_status(200);
    assert_eq!((second.0.len(), second.refresh_names().len()), (2, 1));

    // By another account, too, and with a rotated token: the browser holds no other.
    app.advance(31);
    second.refresh(&app).await.assert_status(200);
    let third = again(&app, &second, &other.email).await;
    second.me(&app).await.assert_problem(401, "token_revoked");
    third.me(&app).await.assert_status(200);
    elsewhere.me(&app).await.assert_status(200);
    user.me().await.assert_status(200);
    let activity = app.get("/me/activity").bearer(&user.tokens.access).send().await;
    let ended = activity.body["events"].as_array().unwrap().iter();
    let replaced = ended.filter(|event| event["detail"] == "replaced").count();
    assert_eq!(replaced, 2, "{}", activity.text);
}

#[tokio::test]
async fn a_login_that_fails_or_that_has_no_proof_ends_nothing() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    let wrong = json!({
        "email": user.email, "password": "not the password", "transport": "cookie",
    });
    let refused = jar.own(app.post("/login")).json(&wrong).send().await;
    refused.assert_problem(401, "invalid_credentials");
    // Without cookies no session is replaced: an app may hold several.
    let body = json!({ "email": user.email, "password": PASSWORD });
    jar.own(app.post("/login")).json(&body).send().await.assert_status(200);
    let mut forged = jar.clone();
    let name = jar.refresh_names()[0].to_owned();
    forged.0.get_mut(&name).unwrap().push('x');
    forged.0.retain(|name, _| name != "__Host-doorward-access");
    again(&app, &forged, &user.email).await;
    jar.me(&app).await.assert_status(200);
    app.advance(31);
    assert_eq!(jar.refresh(&app).await.assert_status(200).body["generation"], 1);
}

#[tokio::test]
async fn the_access_cookie_alone_shows_the_session_that_is_replaced_expired_or_not() {
    let app = start().await;
    let user = app.signed_up().await;
    for seconds in [0, 601] {
        let whole = Jar::log_in(&app, &user.email).await;
        app.advance(seconds);
        let mut alone = whole.clone();
        alone.0.retain(|name, _| !name.starts_with("__Host-doorward-refresh-"));
        let after = again(&app, &alone, &user.email).await;
        whole.refresh(&app).await.assert_ended("replaced");
        after.me(&app).await.assert_status(200);
    }
    user.me().await.assert_status(401);
    app.refresh(&user.tokens.refresh).await.assert_status(200);
}

#[tokio::test]
async fn an_access_cookie_that_was_not_issued_here_replaces_nothing() {
    let (app, other) = (start().await, start().await);
    let (user, stranger) = (app.signed_up().await, other.signed_up().await);
    let own = Jar::log_in(&app, &user.email).await;
    let foreign = Jar::log_in(&other, &stranger.email).await;
    let mut forged = own.clone();
    let changed = own.access().replace('.', "_");
    for access in [foreign.access().to_owned(), changed, format!("{}A", own.access())] {
        forged.0.retain(|name, _| !name.starts_with("__Host-doorward-refresh-"));
        forged.0.insert("__Host-doorward-access".into(), access);
        again(&app, &forged, &user.email).await;
        own.me(&app).await.assert_status(200);
    }
    own.refresh(&app).await.assert_status(200);
}

#[tokio::test]
async fn a_spent_refresh_cookie_at_a_login_is_a_reuse() {
    let app = start().await;
    let user = app.signed_up().await;
    let stolen = Jar::log_in(&app, &user.email).await;
    let mut owner = stolen.clone();
    for _ in 0..3 {
        app.advance(31);
        owner.keep(&owner.refresh(&app).await.assert_status(200));
    }
    app.advance(31);
    let after = again(&app, &stolen, &user.email).await;
    after.me(&app).await.assert_status(200);
    owner.me(&app).await.assert_problem(401, "token_revoked");
    owner.refresh(&app).await.assert_ended("refresh_token_reused");
    let activity = app.get("/me/activity").header("cookie", &after.field()).send().await;
    let events = activity.body["events"].as_array().unwrap().iter();
    let reuses = events.filter(|event| event["event"] == "refresh_token_reused").count();
    assert_eq!(reuses, 1, "{}", activity.text);
}

#[tokio::test]
async fn a_refresh_cookie_whose_answer_was_lost_is_not_a_reuse_at_a_login() {
    let app = start().await;
    let user = app.signed_up().await;
    let before = Jar::log_in(&app, &user.email).await;
    app.advance(31);
    // The answer is lost, and the window has closed.
    before.refresh(&app).await.assert_status(200);
    app.advance(31);
    again(&app, &before, &user.email).await;
    before.refresh(&app).await.assert_ended("replaced");
}
