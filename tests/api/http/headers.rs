//! Headers of every answer.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::json;
use uuid::Uuid;

use crate::support::TestApp;
use crate::support::client::PASSWORD;
use crate::support::feed::looked_again;

use super::assert_guarded;

#[tokio::test]
async fn every_response_has_security_headers_and_only_public_ones_are_cacheable() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let etag = app.get("/.well-known/jwks.json").send().await;
    let etag = etag.header("etag").unwrap().to_owned();
    app.catch_up();
    looked_again(&app).await;
    let calls = [
        (200, app.get("/healthz")),
        (200, app.get("/readyz")),
        (200, app.get("/openapi.yaml")),
        (200, app.get("/.well-known/jwks.json")),
        (304, app.get("/.well-known/jwks.json").header("if-none-match", &etag)),
        (200, app.get("/.well-known/oauth-authorization-server")),
        (200, app.get("/me").bearer(&user.tokens.access)),
        (200, app.get("/sessions").bearer(&user.tokens.access)),
        (401, app.get("/me")),
        (401, app.get("/me").bearer("x")),
        (404, app.get("/nowhere")),
        (405, app.get("/login")),
        (405, app.call("HEAD", "/login")),
        (405, app.call("OPTIONS", "/login")),
        (400, app.get("/me?token=x")),
        (400, app.post("/login").body("application/json", "{")),
        (415, app.post("/login").body("text/plain", "{}")),
        (413, app.post("/login").body("application/json", " ".repeat(100_000))),
        (422, app.post("/register").json(&json!({ "email": "a", "password": "b" }))),
        (401, app.post("/login").json(&json!({ "email": "a", "password": "b" }))),
        (401, app.post("/refresh").json(&json!({ "refresh_token": "dwr_" }))),
        (409, app.post("/register").json(&json!({ "email": user.email, "password": PASSWORD }))),
        (204, app.post("/logout").bearer(&user.tokens.access)),
    ];
    let mut ids = HashSet::new();
    for (status, call) in calls {
        let answer = call.header("x-request-id", "chosen-by-the-client").send().await;
        let answer = answer.assert_status(status);
        assert_guarded(&answer);
        assert!(answer.header("strict-transport-security").is_none(), "the URL is http");
        assert!(answer.header("server").is_none() && answer.header("x-powered-by").is_none());
        let id = answer.header("x-request-id").unwrap();
        assert!(Uuid::parse_str(id).is_ok() && ids.insert(id.to_owned()), "{id}");
        if status >= 400 && answer.header("content-length") != Some("0") && !answer.text.is_empty()
        {
            assert_eq!(answer.body["request_id"], id);
        }
    }
}

#[tokio::test]
async fn https_public_url_sends_hsts_and_subdomains_only_if_configured() {
    let told = "max-age=600; includeSubDomains";
    for (hsts, expected) in
        [(None, Some("max-age=31536000")), (Some(told), Some(told)), (Some(""), None)]
    {
        let app = TestApp::with(|config| {
            config.public_url = "https://login.example.com".into();
            if let Some(hsts) = hsts {
                config.tls.hsts = hsts.into();
            }
        })
        .await;
        for path in ["/healthz", "/me", "/nowhere", "/login"] {
            let answer = app.get(path).send().await;
            assert_eq!(answer.header("strict-transport-security"), expected);
            assert_guarded(&answer);
        }
    }
}

#[tokio::test]
async fn request_ids_are_unique() {
    let app = TestApp::start().await;
    let answers = join_all((0..200).map(|_| app.get("/nowhere").send())).await;
    let ids: HashSet<&str> = answers.iter().map(|it| it.header("x-request-id").unwrap()).collect();
    assert_eq!(ids.len(), 200);
}
