//! Every answer that `openapi.yaml` declares for second factors: a part of `complete.rs`.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use doorward::config::{Config, RequireSecondFactor};
use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::client::{Call, PASSWORD};
use crate::support::jar::{HTTPS, Jar};
use crate::support::mailbox::with_mail_and;
use crate::support::totp::{recovery_code, totp};

const NEW: &str = "nine herons borrow umbrellas";

/// The operations of a logged-in owner.
const OF_OWNERS: [&str; 5] =
    ["/me/totp", "/me/totp/confirm", "/me/totp/remove", "/me/recovery-codes", "/me/reauthenticate"];

fn body_of(path: &str) -> Value {
    match path {
        "/me/totp/confirm" => json!({ "code": "000000" }),
        "/me/reauthenticate" => json!({ "password": PASSWORD }),
        "/login/factor" => json!({ "factor_token": "dwf_x", "totp": "000000" }),
        _ => json!({ "current_password": PASSWORD }),
    }
}

pub async fn every_answer() {
    let app = with_mail_and(|config: &mut Config| config.public_url = HTTPS.into()).await;
    good_answers(&app).await;
    refusals(&app).await;
    required().await;
    too_many_requests().await;
    Box::pin(while_unavailable(&app)).await;
}

async fn good_answers(app: &TestApp) {
    let ada = app.enrolled().await;
    let access = &ada.user.tokens.access;
    let codes = app.new_recovery_codes(access, Some(totp(&ada.authenticator.code(app)))).await;
    codes.assert_status(200);
    app.advance(30);
    let token = app.factor_token(&ada.user.email).await;
    let code = totp(&ada.authenticator.code(app));
    let tokens = app.log_in_factor(&token, &code).await.tokens();
    app.reauthenticate(&tokens.access, None).await.assert_status(200);
    app.remove_totp(&tokens.access, None).await.assert_status(204);
    app.remove_totp(&tokens.access, None).await.assert_problem(404, "not_found");
    app.new_recovery_codes(&tokens.access, None).await.assert_problem(404, "not_found");
}

async fn refusals(app: &TestApp) {
    let ada = app.enrolled().await;
    for path in OF_OWNERS.into_iter().chain(["/login/factor"]) {
        let call = || app.post(path).bearer(&ada.user.tokens.access);
        let broken = call().body("application/json", "{").send().await;
        broken.assert_problem(400, "malformed_request");
        let form = call().body("application/x-www-form-urlencoded", "a=b").send().await;
        form.assert_problem(415, "unsupported_media_type");
        let huge = call().body("application/json", " ".repeat(5_000_000)).send().await;
        huge.assert_problem(413, "payload_too_large");
    }
    let jar = Jar::log_in(app, &app.signed_up().await.email).await;
    for path in OF_OWNERS {
        app.post(path).json(&body_of(path)).send().await.assert_problem(401, "missing_token");
        let foreign = app.post(path).header("cookie", &jar.field()).json(&body_of(path));
        let foreign = foreign.header("sec-fetch-site", "cross-site").send().await;
        foreign.assert_problem(403, "csrf_refused");
    }
    let wrong = app.confirm_totp(&ada.user.tokens.access, "000000").await;
    wrong.assert_problem(422, "invalid_fields");
    let wrong = recovery_code("000000");
    let token = app.factor_token(&ada.user.email).await;
    app.log_in_factor(&token, &wrong).await.assert_problem(401, "invalid_second_factor");
    let body = json!({ "email": ada.user.email, "password": PASSWORD, "transport": "cookie" });
    let page = |path: &str| app.post(path).header("sec-fetch-site", "same-origin");
    let asked = page("/login").json(&body).send().await.assert_status(401);
    let body = json!({ "factor_token": asked.body["factor_token"], "totp": "000000" });
    let foreign = app.post("/login/factor").header("sec-fetch-site", "cross-site");
    foreign.json(&body).send().await.assert_problem(403, "csrf_refused");
    app.forgot(&ada.user.email).await;
    let link = app.message_to(&ada.user.email).await.token();
    app.reset_by_link(&link, NEW).await.assert_problem(401, "second_factor_required");
}

async fn required() {
    let app = TestApp::with(|config| {
        config.accounts.require_second_factor = RequireSecondFactor::All;
    })
    .await;
    app.register("ada@example.com", PASSWORD).await.assert_status(201);
    let asked = app.log_in("ada@example.com", PASSWORD).await;
    asked.assert_problem(403, "second_factor_setup_required");
}

async fn too_many_requests() {
    let app = TestApp::with(|config| {
        config.limits.login_burst = 2;
        config.limits.login_per_minute = 1;
    })
    .await;
    let user = app.signed_up().await;
    app.log_in("nobody@example.com", PASSWORD).await;
    for path in OF_OWNERS.into_iter().chain(["/login/factor"]) {
        let call = app.post(path).bearer(&user.tokens.access).json(&body_of(path));
        call.send().await.assert_problem(429, "rate_limited");
    }
}

async fn while_unavailable(app: &TestApp) {
    let ada = app.enrolled().await;
    let token = app.factor_token(&ada.user.email).await;
    let code = totp(&ada.authenticator.code(app));
    let file = app.config.data_dir.join("doorward.db");
    let mut other = SqliteConnection::establish(&file.to_string_lossy()).unwrap();
    other.batch_execute("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE").unwrap();
    app.log_in_factor(&token, &code).await.assert_problem(503, "unavailable");
    drop(other);

    let stale = TestApp::with(|config| config.revocations.max_staleness = Duration::ZERO).await;
    let user = stale.signed_up().await;
    for path in OF_OWNERS {
        let call: Call = stale.post(path).bearer(&user.tokens.access).json(&body_of(path));
        call.send().await.assert_problem(503, "revocations_stale");
    }
}
