//! The standard OAuth endpoints: `/token`, `/introspect`, `/revoke` and the metadata.

mod authentication;
mod endpoints;
mod introspection;
mod refresh;
mod revocation;
mod services;

use serde_json::Value;

use crate::support::client::Call;
use crate::support::{Answer, Client, TestApp};

const ENDPOINTS: [&str; 3] = ["/token", "/introspect", "/revoke"];

pub fn form(app: &TestApp, path: &str, parameters: &[(&str, &str)]) -> Call {
    app.post(path).form(parameters)
}

async fn machine_token(app: &TestApp, service: &Client) -> Answer {
    let grant = [("grant_type", "client_credentials")];
    form(app, "/token", &grant).client(service).send().await
}

async fn revoke(app: &TestApp, token: &str) -> Answer {
    form(app, "/revoke", &[("token", token)]).send().await
}

async fn assert_active(app: &TestApp, service: &Client, token: &str) -> Value {
    let body = app.introspect(service, token).await.assert_status(200).body;
    assert_eq!(body["active"], true, "{body}");
    body
}

#[track_caller]
fn assert_inactive(answer: Answer) {
    let answer = answer.assert_status(200);
    assert_eq!(answer.text, r#"{"active":false}"#);
}
