//! The admin API's part of the declared responses.

use std::time::Duration;

use doorward::config::{Registration, Verification};
use serde_json::json;

use crate::admin_api::{NOBODY, SCOPES, on_main_port, operations, token};
use crate::support::client::PASSWORD;
use crate::support::mailbox::with_mail_and;
use crate::support::{TestApp, id};

/// Every declared response of the admin API.
pub(super) async fn answers() {
    let app = TestApp::with(on_main_port).await;
    let all = token(&app, &SCOPES).await;
    let other = token(&app, &["orders:read"]).await;
    refusals(&app, &all, &other).await;
    good_answers(&app, &all).await;
    with_and_without_mail(&app, &all).await;
    let stale = TestApp::with(|config| {
        on_main_port(config);
        config.revocations.max_staleness = Duration::ZERO;
    })
    .await;
    let all = token(&stale, &SCOPES).await;
    for operation in operations() {
        let answer = operation.call(&stale).bearer(&all).send().await;
        answer.assert_problem(503, "revocations_stale");
    }
}

async fn refusals(app: &TestApp, all: &str, other: &str) {
    let ada = app.signed_up().await;
    let service = app.public_client().await;
    for operation in operations() {
        let call = || app.call(&operation.method, &operation.path).bearer(all);
        operation.call(app).send().await.assert_problem(401, "missing_token");
        let refused = operation.call(app).bearer(other).send().await;
        refused.assert_problem(403, "insufficient_scope");
        if operation.has_body() {
            let versioned = || call().header("if-match", "*");
            let broken = versioned().body("application/json", "{").send().await;
            broken.assert_problem(400, "malformed_request");
            let form = versioned().body("text/plain", "x").send().await;
            form.assert_problem(415, "unsupported_media_type");
            let huge = versioned().body("application/json", " ".repeat(5_000_000)).send().await;
            huge.assert_problem(413, "payload_too_large");
        }
        if operation.method == "GET" {
            call().send().await;
            app.call("GET", &format!("{}?limit=0", operation.path)).bearer(all).send().await;
        }
        if operation.path.contains(NOBODY) {
            let body =
                if operation.path.ends_with("/roles") { json!({ "roles": [] }) } else { json!({}) };
            let call = call().header("if-match", "*");
            let call = if operation.has_body() { call.json(&body) } else { call };
            call.send().await.assert_problem(404, "not_found");
        }
        if operation.needs_version() {
            let owner = if operation.path.contains("clients") { &service.id } else { &ada.id };
            let path = operation.path.replace(NOBODY, owner);
            let body = if path.ends_with("/roles") { json!({ "roles": [] }) } else { json!({}) };
            let call = || {
                let call = app.call(&operation.method, &path).bearer(all);
                if operation.has_body() { call.json(&body) } else { call }
            };
            call().send().await.assert_problem(428, "precondition_required");
            let other = call().header("if-match", "\"9999\"").send().await;
            other.assert_problem(412, "precondition_failed");
        }
    }
}

/// `app` sends none.
async fn with_and_without_mail(app: &TestApp, all: &str) {
    let new = json!({ "email": "invited@example.com", "invite": true });
    let add = app.post("/admin/users").bearer(all).json(&new).send().await;
    add.assert_problem(501, "email_off");
    let reset = |user: &str| format!("/admin/users/{user}/password-reset");
    let ada = app.signed_up().await;
    let off = app.post(&reset(&ada.id)).bearer(all).send().await;
    off.assert_problem(501, "email_off");

    let app = with_mail_and(|config| {
        on_main_port(config);
        config.accounts.registration = Registration::Closed;
        config.accounts.verification = Verification::Required;
    })
    .await;
    app.confirm("dwq_x", "0000-0000").await.assert_problem(403, "registration_closed");
    let all = token(&app, &SCOPES).await;
    let made = app.post("/admin/users").bearer(&all).json(&new).send().await.assert_status(201);
    let path = reset(made.body["id"].as_str().unwrap());
    for _ in 0..3 {
        app.post(&path).bearer(&all).send().await.assert_status(202);
    }
    app.post(&path).bearer(&all).send().await.assert_problem(429, "rate_limited");
}

async fn good_answers(app: &TestApp, all: &str) {
    let call = |method: &str, path: &str| {
        let call = app.call(method, path).bearer(all);
        if method == "GET" { call } else { call.header("if-match", "*") }
    };
    let new = json!({ "email": "new@example.com", "password": PASSWORD });
    let user = call("POST", "/admin/users").json(&new).send().await.assert_status(201);
    call("POST", "/admin/users").json(&new).send().await.assert_problem(409, "email_taken");
    let weak = json!({ "email": "weak@example.com", "password": "x" });
    call("POST", "/admin/users").json(&weak).send().await.assert_problem(422, "invalid_fields");
    let path = user.header("location").unwrap().to_owned();
    let roles = format!("{path}/roles");
    let odd = json!({ "roles": ["A"] });
    call("PUT", &roles).json(&odd).send().await.assert_problem(422, "invalid_fields");
    call("PUT", &roles).json(&json!({ "roles": ["a"] })).send().await.assert_status(200);
    let other = json!({ "email": "other@example.com", "password": PASSWORD });
    call("POST", "/admin/users").json(&other).send().await.assert_status(201);
    let taken = json!({ "email": "other@example.com" });
    call("PATCH", &path).json(&taken).send().await.assert_problem(409, "email_taken");
    let odd = json!({ "claims": { "a b": 1 } });
    call("PATCH", &path).json(&odd).send().await.assert_problem(422, "invalid_fields");
    call("PATCH", &path).json(&json!({ "disabled": false })).send().await.assert_status(200);
    let tokens = app.log_in("new@example.com", PASSWORD).await.tokens();
    call("DELETE", &format!("{path}/factors")).send().await.assert_status(204);
    let sessions = format!("{path}/sessions");
    let one = format!("{sessions}/{}", tokens.session);
    call("DELETE", &one).send().await.assert_status(204);
    call("DELETE", &sessions).send().await.assert_status(204);
    for path in ["/admin/users", &path, &sessions, "/admin/clients", "/admin/audit"] {
        call("GET", path).send().await.assert_status(200);
    }
    call("DELETE", &path).send().await.assert_status(204);

    let new = json!({ "name": "Orders", "kind": "confidential" });
    let client = call("POST", "/admin/clients").json(&new).send().await.assert_status(201);
    let odd = json!({ "name": "", "kind": "public" });
    call("POST", "/admin/clients").json(&odd).send().await.assert_problem(422, "invalid_fields");
    let path = client.header("location").unwrap().to_owned();
    call("GET", &path).send().await.assert_status(200);
    call("PATCH", &path).json(&json!({ "name": "x" })).send().await.assert_status(200);
    let odd = json!({ "name": "" });
    call("PATCH", &path).json(&odd).send().await.assert_problem(422, "invalid_fields");
    let rotate = format!("{path}/rotate-secret");
    call("POST", &rotate).send().await.assert_status(200);
    let outdated = app.call("POST", &rotate).bearer(all).header("if-match", "\"9999\"");
    outdated.send().await.assert_problem(412, "precondition_failed");
    let odd = json!({ "keep_old_seconds": 100_000_000 });
    call("POST", &rotate).json(&odd).send().await.assert_problem(422, "invalid_fields");
    call("DELETE", &path).send().await.assert_status(204);
    let gone = app.api.clients.find(id(client.body["client_id"].as_str().unwrap())).await;
    assert!(gone.unwrap().is_none());
}
