//! Answers that need no credentials: the description, the metadata, the health of a node.

use serde_json::json;

use crate::support::TestApp;
use crate::support::feed::looked_again;

#[tokio::test]
async fn the_served_description_is_openapi_yaml() {
    let app = TestApp::start().await;
    let answer = app.get("/openapi.yaml").send().await.assert_status(200);
    assert_eq!(answer.text, include_str!("../../../openapi.yaml"));
    assert_eq!(answer.header("content-type"), Some("application/yaml"));
}

#[tokio::test]
async fn the_metadata_points_to_the_keys() {
    let app = TestApp::with(|config| config.public_url = "https://example.com/login/".into()).await;
    let metadata = app.get("/.well-known/oauth-authorization-server").send().await;
    let metadata = metadata.assert_status(200).body;
    assert_eq!(metadata["issuer"], "https://example.com/login");
    assert_eq!(metadata["jwks_uri"], "https://example.com/login/.well-known/jwks.json");
}

#[tokio::test]
async fn a_running_node_is_live_and_ready() {
    let app = TestApp::start().await;
    let alive = app.get("/healthz").send().await.assert_status(200);
    assert_eq!(alive.body, json!({ "status": "ok" }));
    app.catch_up();
    looked_again(&app).await;
    let ready = app.get("/readyz").send().await.assert_status(200);
    assert_eq!(ready.body["status"], "ready");
    assert!(ready.body["revocations_age_seconds"].as_f64().unwrap() < 5.0);
}
