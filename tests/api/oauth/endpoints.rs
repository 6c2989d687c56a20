//! Behaviour common to all of these endpoints.

use serde_json::json;

use crate::support::TestApp;

use super::{ENDPOINTS, assert_active, assert_inactive, form};

#[tokio::test]
async fn every_refusal_of_these_endpoints_has_the_form_of_rfc_6749() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    for path in ENDPOINTS {
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = app.call(method, path).send().await;
            let answer = answer.assert_oauth(405, "invalid_request");
            assert_eq!(answer.header("allow"), Some("POST"), "{method} {path}");
        }
        let post = || app.post(path).client(&service);
        for (media_type, body) in [
            ("application/json", r#"{"token":"x"}"#),
            ("text/plain", "token=x"),
            ("multipart/form-data; boundary=x", "--x--"),
            ("application/x-www-form-urlencoded; charset=utf-16", "token=x"),
            ("application/x-www-form-urlencoded, application/json", "token=x"),
        ] {
            let answer = post().body(media_type, body).send().await;
            answer.assert_oauth(415, "invalid_request");
        }
        let media_type = "application/x-www-form-urlencoded";
        let zipped = post().header("content-encoding", "gzip").body(media_type, "token=x");
        zipped.send().await.assert_oauth(415, "invalid_request");
        for query in ["token=x", "client_secret=x", "refresh_token=x", "client_assertion=x"] {
            for method in ["GET", "POST"] {
                let call = app.call(method, &format!("{path}?{query}"));
                call.send().await.assert_oauth(400, "invalid_request");
            }
        }
        let long = app.post(&format!("{path}?{}", "x".repeat(10_000))).send().await;
        long.assert_oauth(414, "invalid_request");
        let short = post().header("idempotency-key", "short").form(&[("token", "x")]).send().await;
        assert!([200, 400].contains(&short.status) && short.body.get("code").is_none());
    }
    // A UTF-8 charset is accepted.
    let spelled = "application/x-www-form-urlencoded; charset=UTF-8";
    let answer = app.post("/introspect").client(&service).body(spelled, "token=x").send().await;
    assert_inactive(answer);
}

#[tokio::test]
async fn the_metadata_lists_the_endpoints() {
    let app = TestApp::with(|config| config.public_url = "https://login.example.com".into()).await;
    let metadata = app.get("/.well-known/oauth-authorization-server").send().await;
    let base = "https://login.example.com";
    let any = ["client_secret_basic", "client_secret_post", "none"];
    assert_eq!(
        metadata.assert_status(200).body,
        json!({
            "issuer": base,
            "jwks_uri": format!("{base}/.well-known/jwks.json"),
            "token_endpoint": format!("{base}/token"),
            "introspection_endpoint": format!("{base}/introspect"),
            "revocation_endpoint": format!("{base}/revoke"),
            "response_types_supported": [],
            "grant_types_supported": ["refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": any,
            "introspection_endpoint_auth_methods_supported": any[..2],
            "revocation_endpoint_auth_methods_supported": any,
            "service_documentation": format!("{base}/openapi.yaml"),
            "doorward_revocations_endpoint": format!("{base}/revocations"),
        })
    );
}

#[tokio::test]
async fn a_scope_requested_twice_is_granted_once() {
    let app = TestApp::start().await;
    let service = app.service(&["read", "write"]).await;
    let scope = ["read"; 50].join(" ");
    let grant = [("grant_type", "client_credentials"), ("scope", scope.as_str())];
    let answer = form(&app, "/token", &grant).client(&service).send().await.assert_status(200);
    assert_eq!(answer.body["scope"], "read");
    assert_active(&app, &service, answer.body["access_token"].as_str().unwrap()).await;
}
