//! Every answer that `openapi.yaml` declares for mail: a part of `complete.rs`.

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use doorward::config::Verification;
use serde_json::{Value, json};

use crate::support::client::{Call, PASSWORD};
use crate::support::jar::{HTTPS, Jar};
use crate::support::mailbox::{request_of, with_mail_and};
use crate::support::{TestApp, User};

const NEW: &str = "nine herons borrow umbrellas";
const FORM: &str = "application/x-www-form-urlencoded";

/// The operations with a JSON body, those of an account last.
const WITH_BODY: [&str; 5] =
    ["/register/confirm", "/password/forgot", "/password/reset", "/me/email", "/me/email/confirm"];

/// The forms of the built-in page.
const PAGE: [&str; 2] = ["/reset", "/reset/message"];

pub async fn every_answer() {
    let app = service(Verification::Off).await;
    good_answers(&app).await;
    refusals(&app).await;
    too_many_requests().await;
    without_mail().await;
    Box::pin(while_unavailable(&app)).await;
}

async fn service(verification: Verification) -> TestApp {
    with_mail_and(|config| {
        config.accounts.verification = verification;
        config.public_url = HTTPS.into();
    })
    .await
}

fn ask(user: &User<'_>, email: &str, password: &str) -> Call {
    let body = json!({ "email": email, "current_password": password });
    user.app.post("/me/email").bearer(&user.tokens.access).json(&body)
}

fn own(app: &TestApp, path: &str) -> Call {
    app.post(path).header("origin", HTTPS)
}

async fn good_answers(app: &TestApp) {
    let proving = service(Verification::Required).await;
    let request = request_of(proving.register("ada@example.com", PASSWORD).await);
    let code = proving.message_to("ada@example.com").await.code();
    proving.confirm(&request, &code).await.assert_status(201);

    let user = app.signed_up().await;
    let request = request_of(ask(&user, &user.email, PASSWORD).send().await);
    let code = app.message_to(&user.email).await.code();
    let body = json!({ "request": request, "code": code });
    let confirm = app.post("/me/email/confirm").bearer(&user.tokens.access);
    confirm.json(&body).send().await.assert_status(204);
    app.clear_outbox().await;
    app.forgot(&user.email).await;
    let token = app.message_to(&user.email).await.token();
    app.reset_by_link(&token, NEW).await.assert_status(200);
    app.get("/reset").send().await.assert_status(200);
    own(app, "/reset").form(&[]).send().await.assert_status(200);
    own(app, "/reset/message").form(&[("email", &user.email)]).send().await.assert_status(200);
}

async fn refusals(app: &TestApp) {
    let user = app.signed_up().await;
    for path in WITH_BODY {
        let call = || app.post(path).bearer(&user.tokens.access);
        let broken = call().body("application/json", "{").send().await;
        broken.assert_problem(400, "malformed_request");
        let form = call().body(FORM, "a=b").send().await;
        form.assert_problem(415, "unsupported_media_type");
        let huge = call().body("application/json", " ".repeat(5_000_000)).send().await;
        huge.assert_problem(413, "payload_too_large");
    }
    for path in PAGE {
        let twice = own(app, path).body(FORM, "a=1&a=2").send().await;
        twice.assert_problem(400, "malformed_request");
        let json = own(app, path).body("application/json", "{}").send().await;
        json.assert_problem(415, "unsupported_media_type");
        let huge = own(app, path).body(FORM, "a".repeat(5_000_000)).send().await;
        huge.assert_problem(413, "payload_too_large");
        let foreign = app.post(path).header("origin", "https://evil.example");
        foreign.form(&[("email", "a@b.c")]).send().await.assert_problem(403, "csrf_refused");
    }

    app.forgot_from("192.0.2.1", "nobody").await.assert_problem(422, "invalid_fields");
    app.forgot(&user.email).await;
    let token = app.message_to(&user.email).await.token();
    app.reset_by_link(&token, "short").await.assert_problem(422, "invalid_fields");
    ask(&user, "nobody", PASSWORD).send().await.assert_problem(422, "invalid_fields");
    ask(&user, "a@b.c", NEW).send().await.assert_problem(403, "wrong_password");
    let body = json!({ "token": token, "password": NEW, "transport": "cookie" });
    let foreign = app.post("/password/reset").header("sec-fetch-site", "cross-site");
    foreign.json(&body).send().await.assert_problem(403, "csrf_refused");
    let code = json!({ "request": "dwq_x", "code": "x" });
    for (path, body) in [
        ("/me/email", json!({ "email": "a@b.c", "current_password": "x" })),
        ("/me/email/confirm", code),
    ] {
        app.post(path).json(&body).send().await.assert_problem(401, "missing_token");
        let jar = Jar::log_in(app, &user.email).await;
        let call = app.post(path).header("cookie", &jar.field());
        let call = call.header("sec-fetch-site", "cross-site").json(&body);
        call.send().await.assert_problem(403, "csrf_refused");
    }
}

/// A body that each operation understands.
fn body_of(path: &str) -> Value {
    match path {
        "/password/forgot" => json!({ "email": "ada@example.com" }),
        "/password/reset" => json!({ "token": "dwm_x", "password": NEW }),
        "/me/email" => json!({ "email": "a@b.c", "current_password": PASSWORD }),
        _ => json!({ "request": "dwq_x", "code": "x" }),
    }
}

async fn too_many_requests() {
    let app = with_mail_and(|config| {
        config.limits.login_burst = 2;
        config.limits.login_per_minute = 1;
        config.limits.register_burst = 2;
        config.limits.register_per_minute = 1;
    })
    .await;
    let user = app.signed_up().await;
    app.log_in("nobody@example.com", PASSWORD).await;
    app.register("second@example.com", PASSWORD).await;
    for path in WITH_BODY {
        let call = app.post(path).bearer(&user.tokens.access).json(&body_of(path));
        call.send().await.assert_problem(429, "rate_limited");
    }
    for path in PAGE {
        app.post(path).form(&[]).send().await.assert_problem(429, "rate_limited");
    }
}

async fn without_mail() {
    let app = TestApp::with(|config| config.public_url = HTTPS.into()).await;
    let user = app.signed_up().await;
    for path in WITH_BODY {
        let call = app.post(path).bearer(&user.tokens.access).json(&body_of(path));
        call.send().await.assert_problem(501, "email_off");
    }
    app.get("/reset").send().await.assert_problem(501, "email_off");
    for path in PAGE {
        let page = own(&app, path).form(&[("email", "a@b.c")]).send().await;
        page.assert_problem(501, "email_off");
    }
}

/// A database that another process holds, and a revocation list that is too old.
async fn while_unavailable(app: &TestApp) {
    let proving = service(Verification::Required).await;
    let request = request_of(proving.register("eve@example.com", PASSWORD).await);
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    let token = app.message_to(&user.email).await.token();
    let hold = |app: &TestApp| {
        let file = app.config.data_dir.join("doorward.db");
        let mut other = SqliteConnection::establish(&file.to_string_lossy()).unwrap();
        other.batch_execute("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE").unwrap();
        other
    };
    let others = (hold(app), hold(&proving));
    let (link, email) = ([("link", token.as_str()), ("password", NEW)], [("email", "a@b.c")]);
    let (confirm, forgot, reset, page, message) = tokio::join!(
        proving.confirm(&request, "0000-0000"),
        app.forgot_from("192.0.2.1", "nobody@example.com"),
        app.reset_by_link(&token, NEW),
        own(app, "/reset").form(&link).send(),
        own(app, "/reset/message").form(&email).send()
    );
    for answer in [confirm, forgot, reset, page, message] {
        answer.assert_problem(503, "unavailable");
    }
    drop(others);

    let stale = with_mail_and(|config| {
        config.revocations.max_staleness = std::time::Duration::ZERO;
    });
    let stale = stale.await;
    let user = stale.signed_up().await;
    for path in ["/me/email", "/me/email/confirm"] {
        let call = stale.post(path).bearer(&user.tokens.access).json(&body_of(path));
        call.send().await.assert_problem(503, "revocations_stale");
    }
}
