//! The service produces every response that `openapi.yaml` declares.

use std::sync::mpsc;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use doorward::config::Registration;
use serde_json::json;

use crate::support::contract::Contract;
use crate::support::jar::{HTTPS, Jar, log_in};
use crate::support::{Client, TestApp, client::PASSWORD};

#[tokio::test]
async fn every_declared_response_of_every_operation_occurs() {
    let app = TestApp::start().await;
    good_answers(&app).await;
    refused_bodies(&app).await;
    refused_values(&app).await;
    refused_tokens(&app).await;
    oauth(&app).await;
    feed(&app).await;
    refused_pages().await;
    closed_registration().await;
    Box::pin(super::complete_admin::answers()).await;
    too_many_requests().await;
    a_service_in_trouble(&app).await;
    Box::pin(super::complete_mail::every_answer()).await;
    Box::pin(super::complete_factors::every_answer()).await;
    assert_eq!(Contract::load().unexercised(), Vec::<String>::new());
}

async fn good_answers(app: &TestApp) {
    let mut user = app.signed_up().await;
    user.me().await.assert_status(200);
    user.refresh().await.assert_status(200);
    let other = user.another_session().await;
    app.get("/sessions").bearer(&user.tokens.access).send().await.assert_status(200);
    app.get("/me/activity").bearer(&user.tokens.access).send().await.assert_status(200);
    let path = format!("/sessions/{}", other.session);
    let end = |path: String| app.call("DELETE", &path).bearer(&user.tokens.access).send();
    end(path.clone()).await.assert_status(204);
    end(path).await.assert_problem(404, "not_found");
    app.get("/verify").bearer(&user.tokens.access).send().await.assert_status(200);
    user.change_password("not the password", "eight walnuts paint the harbour")
        .await
        .assert_problem(403, "wrong_password");
    user.close("not the password").await.assert_problem(403, "wrong_password");
    user.tokens = user.change_password(PASSWORD, "eight walnuts paint the harbour").await.tokens();
    user.close("eight walnuts paint the harbour").await.assert_status(204);
    app.signed_up().await.log_out().await.assert_status(204);

    let keys = app.get("/.well-known/jwks.json").send().await.assert_status(200);
    let tag = keys.header("etag").unwrap();
    let again = app.get("/.well-known/jwks.json").header("if-none-match", tag).send().await;
    again.assert_status(304);
    for path in [
        "/",
        "/docs",
        "/docs/swagger-ui.css",
        "/.well-known/oauth-authorization-server",
        "/openapi.yaml",
        "/healthz",
        "/readyz",
    ] {
        app.get(path).send().await.assert_status(200);
    }
    app.get("/docs/nothing").send().await.assert_problem(404, "not_found");
    let without_docs = TestApp::with(|config| config.docs.enabled = false).await;
    without_docs.get("/docs").send().await.assert_problem(404, "not_found");
}

async fn closed_registration() {
    let app = TestApp::with(|config| config.accounts.registration = Registration::Closed).await;
    let answer = app.register("ada@example.com", PASSWORD).await;
    answer.assert_problem(403, "registration_closed");
}

const WITH_BODY: [&str; 6] =
    ["/register", "/login", "/refresh", "/logout", "/me/password", "/me/close"];

async fn refused_bodies(app: &TestApp) {
    let user = app.signed_up().await;
    for path in WITH_BODY {
        let call = || app.post(path).bearer(&user.tokens.access);
        let broken = call().body("application/json", "{").send().await;
        broken.assert_problem(400, "malformed_request");
        let form = call().body("application/x-www-form-urlencoded", "a=b").send().await;
        form.assert_problem(415, "unsupported_media_type");
        let huge = call().body("application/json", " ".repeat(5_000_000)).send().await;
        huge.assert_problem(413, "payload_too_large");
    }
}

async fn refused_values(app: &TestApp) {
    let user = app.signed_up().await;
    app.register("weak@example.com", "short").await.assert_problem(422, "invalid_fields");
    app.register(&user.email, PASSWORD).await.assert_problem(409, "email_taken");
    user.change_password(PASSWORD, "short").await.assert_problem(422, "invalid_fields");
    let none = app.get("/me/activity?limit=0").bearer(&user.tokens.access).send().await;
    none.assert_problem(400, "malformed_request");
    let label = json!({ "email": user.email, "password": PASSWORD, "label": "x".repeat(101) });
    app.post("/login").json(&label).send().await.assert_problem(422, "invalid_fields");
    app.log_in(&user.email, "not the password").await.assert_problem(401, "invalid_credentials");
}

async fn refused_tokens(app: &TestApp) {
    let verify = app.get("/verify?preflights=maybe").send().await;
    verify.assert_problem(400, "malformed_request");
    app.refresh("dwr_nothing").await.assert_ended("unknown_token");
    let body = json!({ "current_password": "a", "new_password": "b" });
    for call in [
        app.post("/logout"),
        app.get("/me"),
        app.get("/me/activity"),
        app.post("/me/password").json(&body),
        app.post("/me/close").json(&json!({ "password": "a" })),
        app.get("/sessions"),
        app.call("DELETE", "/sessions/nobodys"),
        app.get("/verify"),
    ] {
        call.send().await.assert_problem(401, "missing_token");
    }
}

async fn oauth(app: &TestApp) {
    let user = app.signed_up().await;
    let service = app.service(&["read"]).await;
    for (path, name, value) in [
        ("/token", "grant_type", "client_credentials"),
        ("/introspect", "token", "x"),
        ("/revoke", "token", "x"),
    ] {
        let call = || app.post(path).client(&service);
        call().form(&[(name, value)]).send().await.assert_status(200);
        call().form(&[]).send().await.assert_oauth(400, "invalid_request");
        let json = call().body("application/json", "{}").send().await;
        json.assert_oauth(415, "invalid_request");
        let media_type = "application/x-www-form-urlencoded";
        let huge = call().body(media_type, "a".repeat(5_000_000)).send().await;
        huge.assert_oauth(413, "invalid_request");
        let stranger = Client { id: user.id.clone(), ..service.clone() };
        let refused = app.post(path).client(&stranger).form(&[(name, value)]).send().await;
        refused.assert_oauth(401, "invalid_client");
    }
}

async fn feed(app: &TestApp) {
    let service = app.service(&[]).await;
    app.get("/revocations").send().await.assert_problem(401, "invalid_client");
    let list = app.get("/revocations").client(&service).send().await.assert_status(200);
    let tag = list.header("etag").unwrap();
    let again = app.get("/revocations").client(&service).header("if-none-match", tag).send().await;
    again.assert_status(304);
}

async fn refused_pages() {
    let app = TestApp::with(|config| config.public_url = HTTPS.into()).await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    let password = json!({ "current_password": "a", "new_password": "b" });
    for call in [
        log_in(&app, &user.email),
        app.post("/refresh"),
        app.post("/logout"),
        app.post("/me/password").json(&password),
        app.post("/me/close").json(&json!({ "password": "a" })),
        app.call("DELETE", "/sessions/nobodys"),
        app.get("/verify"),
    ] {
        let call = call.header("cookie", &jar.field()).header("sec-fetch-site", "cross-site");
        call.send().await.assert_problem(403, "csrf_refused");
    }
}

async fn too_many_requests() {
    let app = TestApp::with(|config| {
        config.limits.login_burst = 1;
        config.limits.register_burst = 1;
        config.limits.refresh_burst = 1;
        config.limits.login_per_minute = 1;
        config.limits.register_per_minute = 1;
        config.limits.refresh_per_minute = 1;
    })
    .await;
    let user = app.signed_up().await;
    let limited = |answer: crate::support::Answer| answer.assert_problem(429, "rate_limited");
    limited(app.register("second@example.com", PASSWORD).await);
    limited(app.log_in(&user.email, PASSWORD).await);
    limited(user.change_password(PASSWORD, PASSWORD).await);
    limited(user.close(PASSWORD).await);
    app.refresh(&user.tokens.refresh).await.assert_status(200);
    limited(app.refresh(&user.tokens.refresh).await);
    let (token, hint) = (user.tokens.refresh.as_str(), ("grant_type", "refresh_token"));
    let later = "temporarily_unavailable";
    let form = [hint, ("refresh_token", token)];
    app.post("/token").form(&form).send().await.assert_oauth(429, later);
    app.post("/revoke").form(&[("token", token)]).send().await.assert_oauth(429, later);
    let stranger = Client { id: user.id.clone(), secret: "wrong".into() };
    app.introspect(&stranger, token).await.assert_oauth(401, "invalid_client");
    app.introspect(&stranger, token).await.assert_oauth(429, later);
    let body = json!({ "refresh_token": user.tokens.refresh });
    limited(app.post("/logout").json(&body).send().await);
}

/// A database locked by another process, blocked readers, and a revocation list that is too stale.
async fn a_service_in_trouble(app: &TestApp) {
    let user = app.signed_up().await;
    let file = app.config.data_dir.join("doorward.db");
    let mut other = SqliteConnection::establish(&file.to_string_lossy()).unwrap();
    other.batch_execute("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE").unwrap();
    let (register, log_in, refresh) = tokio::join!(
        app.register("third@example.com", PASSWORD),
        app.log_in(&user.email, PASSWORD),
        app.refresh(&user.tokens.refresh)
    );
    for answer in [register, log_in, refresh] {
        assert_eq!(answer.assert_problem(503, "unavailable").body["transient"], json!(true));
    }
    let token = user.tokens.refresh.as_str();
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    let (refreshed, revoked) = tokio::join!(
        app.post("/token").form(&form).send(),
        app.post("/revoke").form(&[("token", token)]).send()
    );
    for answer in [refreshed, revoked] {
        answer.assert_oauth(503, "temporarily_unavailable");
    }
    other.batch_execute("ROLLBACK").unwrap();
    drop(other);

    let stale = TestApp::with(|config| {
        config.revocations.max_staleness = Duration::ZERO;
        config.database.pool_size = 1;
    })
    .await;
    let user = stale.signed_up().await;
    let access = &user.tokens.access;
    let service = stale.service(&[]).await;
    let unknown = stale.introspect(&service, access).await;
    unknown.assert_oauth(503, "temporarily_unavailable");
    for call in [
        stale.post("/logout"),
        stale.get("/me"),
        stale.get("/me/activity"),
        stale.post("/me/password").json(&json!({ "current_password": "a", "new_password": "b" })),
        stale.post("/me/close").json(&json!({ "password": "a" })),
        stale.get("/sessions"),
        stale.call("DELETE", "/sessions/nobodys"),
        stale.get("/verify"),
    ] {
        call.bearer(access).send().await.assert_problem(503, "revocations_stale");
    }

    let (release, held) = mpsc::channel::<()>();
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
    let busy = tokio::spawn(stale.db().read(move |_| {
        begun.blocking_send(()).unwrap();
        let _ = held.recv();
        Ok(())
    }));
    has_begun.recv().await;
    stale.get("/readyz").send().await.assert_problem(503, "not_ready");
    let list = stale.get("/revocations").client(&service).send().await;
    list.assert_problem(503, "unavailable");
    drop(release);
    busy.await.unwrap().unwrap();
}
