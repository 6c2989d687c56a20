//! No secret is logged, at any level: a wide range of requests against the real program, with full
//! logging of it and its libraries.

mod logs;
mod program;
mod requests;
mod secrets;

use serde_json::{Value, json};

use crate::support::Client;
use crate::support::binary::Doorward;
use crate::support::client::{Answer, Call};

// Not the example of the start-up banner.
const PASSWORD: &str = "twelve geese inspect the ferry";
const NEW_PASSWORD: &str = "eight walnuts paint the harbour";
const WRONG_PASSWORD: &str = "nine badgers polish trombones";
const OPERATORS: &str = "ten herons varnish the piano";
const STRAY: &str = "eleven moles dust the chandelier";
const KEY: &str = "an-idempotency-key-of-the-tests-own";

/// The number of sent requests: each has its line in the log.
struct Requests<'a> {
    service: &'a Doorward,
    sent: usize,
}

impl Requests<'_> {
    fn post(&self, path: &str) -> Call {
        self.service.call("POST", path)
    }

    async fn send(&mut self, call: Call) -> Answer {
        self.sent += 1;
        call.send().await
    }

    async fn json(&mut self, path: &str, body: Value) -> Answer {
        self.send(self.post(path).json(&body)).await
    }

    async fn log_in(&mut self, email: &str, password: &str) -> Answer {
        self.json("/login", json!({ "email": email, "password": password })).await
    }

    async fn refresh(&mut self, token: &str) -> Answer {
        let call = self.post("/refresh").header("idempotency-key", KEY);
        self.send(call.json(&json!({ "refresh_token": token }))).await
    }

    async fn form(&mut self, path: &str, client: Option<&Client>, form: &[(&str, &str)]) -> Answer {
        let call = self.post(path);
        let call = if let Some(client) = client { call.client(client) } else { call };
        self.send(call.form(form)).await
    }
}
