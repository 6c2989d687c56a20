//! The admin API, as a support desk uses it.

mod audit;
mod clients;
mod listener;
mod mail;
mod scopes;
mod users;

use doorward::config::Config;
use serde_json::Value;

use crate::support::client::Call;
use crate::support::contract::Contract;
use crate::support::{Answer, Client, TestApp};

/// An id that belongs to nothing.
pub const NOBODY: &str = "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75";

/// Every scope of the admin API.
pub const SCOPES: [&str; 6] = [
    "doorward:users.read",
    "doorward:users.write",
    "doorward:sessions.write",
    "doorward:clients.read",
    "doorward:clients.write",
    "doorward:audit.read",
];

pub fn on_main_port(config: &mut Config) {
    config.admin.enabled = true;
    config.admin.on_main_port = true;
}

/// A service with the admin API on its main port.
async fn start() -> TestApp {
    TestApp::with(on_main_port).await
}

/// A client's own access token with all of its scopes.
pub async fn token_of(app: &TestApp, client: &Client) -> String {
    let form = [("grant_type", "client_credentials")];
    let answer = app.post("/token").client(client).form(&form).send().await.assert_status(200);
    answer.body["access_token"].as_str().unwrap().to_owned()
}

/// An access token with these scopes.
pub async fn token(app: &TestApp, scopes: &[&str]) -> String {
    token_of(app, &app.service(scopes).await).await
}

/// An operation of the admin API.
pub struct Operation {
    pub method: String,
    /// With ids that belong to nothing.
    pub path: String,
    pub scope: String,
}

impl Operation {
    /// A request that every operation could read.
    pub fn call(&self, app: &TestApp) -> Call {
        let call = app.call(&self.method, &self.path);
        let call = if self.method == "GET" { call } else { call.header("if-match", "*") };
        if self.has_body() { call.json(&serde_json::json!({})) } else { call }
    }

    pub fn has_body(&self) -> bool {
        matches!(self.method.as_str(), "POST" | "PUT" | "PATCH")
    }

    /// Whether it changes an account or a client of a version.
    pub fn needs_version(&self) -> bool {
        !self.path.contains("/sessions")
            && !self.path.ends_with("/factors")
            && matches!(self.method.as_str(), "PUT" | "PATCH" | "DELETE")
    }
}

/// Every operation of the admin API, with the scope that `openapi.yaml` declares.
pub fn operations() -> Vec<Operation> {
    let declared = Contract::load().operator_scopes();
    assert!(declared.len() > 10, "{declared:?}");
    let operation = |(name, scope): (String, String)| {
        let (method, path) = name.split_once(' ').unwrap();
        let path = path.replace("{id}", NOBODY).replace("{sid}", NOBODY);
        Operation { method: method.to_owned(), path, scope }
    };
    declared.into_iter().map(operation).collect()
}

/// The entity tag of an answer.
fn tag(answer: &Answer) -> String {
    answer.header("etag").unwrap().to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
