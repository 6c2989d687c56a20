//! Requests from pages of other origins.

use serde_json::json;

use crate::support::{Answer, TestApp};

use super::{assert_guarded, list};

const ORIGIN: &str = "https://app.example.com";

#[tokio::test]
async fn every_response_to_a_listed_origin_names_it() {
    let app = TestApp::with(|config| {
        config.cors.origins = vec![ORIGIN.into(), "http://localhost:5173".into()];
    })
    .await;
    let user = app.signed_up().await;
    for origin in [ORIGIN, "http://localhost:5173"] {
        for (status, call) in [
            (200, app.get("/me").bearer(&user.tokens.access)),
            (401, app.get("/me")),
            (401, app.post("/refresh").json(&json!({ "refresh_token": "dwr_" }))),
            (400, app.post("/refresh").body("application/json", "{")),
            (400, app.get("/me?token=x")),
            (404, app.get("/nowhere")),
            (405, app.get("/login")),
        ] {
            let answer = call.header("origin", origin).send().await.assert_status(status);
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{status}");
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
            let exposed = list(&answer, "access-control-expose-headers");
            for name in ["retry-after", "www-authenticate", "x-request-id"] {
                assert!(exposed.contains(name), "{status}: {exposed:?}");
            }
            assert!(list(&answer, "vary").contains("origin"), "{status}");
            assert_guarded(&answer);
        }
    }
}

#[tokio::test]
async fn a_foreign_origin_gets_no_permission() {
    let app = TestApp::with(|config| config.cors.origins = vec![ORIGIN.into()]).await;
    let user = app.signed_up().await;
    for origin in [
        "https://evil.example",
        "https://app.example.com.evil.example",
        "https://evil-app.example.com",
        "https://sub.app.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "HTTPS://APP.EXAMPLE.COM",
        "null",
        "*",
        "",
    ] {
        for call in [
            app.get("/me").bearer(&user.tokens.access),
            app.get("/nowhere"),
            app.post("/refresh").json(&json!({ "refresh_token": "dwr_" })),
        ] {
            let answer = call.header("origin", origin).send().await;
            assert_no_permission(&answer, origin);
            assert!(list(&answer, "vary").contains("origin"), "{origin}: {:?}", answer.headers);
        }
        let preflight = app
            .call("OPTIONS", "/refresh")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send()
            .await;
        assert_no_permission(&preflight, origin);
        assert!((400..500).contains(&preflight.status), "{origin}");
    }
    user.me().await.assert_status(200);
}

#[tokio::test]
async fn a_cached_response_without_an_origin_is_not_used_for_a_request_with_one() {
    let app = TestApp::with(|config| config.cors.origins = vec![ORIGIN.into()]).await;
    for (path, allowed) in [
        ("/.well-known/jwks.json", Some("*")),
        ("/openapi.yaml", Some("*")),
        ("/healthz", None),
        ("/me", None),
    ] {
        let answer = app.get(path).send().await;
        assert!(list(&answer, "vary").contains("origin"), "{path}: {:?}", answer.headers);
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
    }
}

#[tokio::test]
async fn a_preflight_allows_only_the_needed_methods_and_headers() {
    let app = TestApp::with(|config| config.cors.origins = vec![ORIGIN.into()]).await;
    let preflight = async |path: &str, method: &str, fields: &str| {
        app.call("OPTIONS", path)
            .header("origin", ORIGIN)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", fields)
            .send()
            .await
    };
    for (path, method) in [
        ("/refresh", "POST"),
        ("/login", "POST"),
        ("/me", "GET"),
        ("/sessions/019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75", "DELETE"),
    ] {
        let asked = "authorization,baggage,content-type,idempotency-key,traceparent,tracestate";
        let answer = preflight(path, method, asked).await;
        let answer = answer.assert_status(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        let methods = list(&answer, "access-control-allow-methods");
        assert_eq!(methods, ["delete", "get", "post"].map(String::from).into());
        let fields = list(&answer, "access-control-allow-headers");
        assert_eq!(fields, asked.split(',').map(String::from).collect());
        assert!(answer.header("access-control-max-age").is_some());
        assert!(list(&answer, "vary").contains("origin"));
        assert_guarded(&answer);
    }
    for (method, fields) in [("PUT", "content-type"), ("POST", "x-other"), ("", "content-type")] {
        let answer = preflight("/refresh", method, fields).await;
        assert!((400..500).contains(&answer.status), "{method} {fields}: {}", answer.text);
        assert_guarded(&answer);
    }
}

#[tokio::test]
async fn without_listed_origins_cors_is_off() {
    let app = TestApp::start().await;
    for origin in [ORIGIN, "null", "http://doorward.test"] {
        assert_no_permission(&app.get("/healthz").header("origin", origin).send().await, origin);
        let preflight = app
            .call("OPTIONS", "/login")
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        let answer = preflight.send().await;
        assert!((400..500).contains(&answer.status), "{origin}");
        assert_no_permission(&answer, origin);
    }
}

#[track_caller]
fn assert_no_permission(answer: &Answer, origin: &str) {
    let mut names = answer.headers.keys().map(reqwest::header::HeaderName::as_str);
    // Permissions to read parts of a response are useless while the response itself may not be
    // read.
    let permission = names.find(|name| name.starts_with("access-control-allow-"));
    assert_eq!(permission, None, "{origin}: {:?}", answer.headers);
}
