//! An attacker cannot lock an account's owner out: by guesses from everywhere, by an already
//! rotated refresh token, by an access token.

mod guesses;
mod trust;

use std::sync::atomic::{AtomicU32, Ordering};

use doorward::config::Config;
use doorward::secret::Secret;
use serde_json::json;

use crate::support::app::behind_a_proxy;
use crate::support::{Answer, PASSWORD, TestApp, Tokens};

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";
const WRONG: &str = "not my password at all";

/// The owner's network, from which she has logged in.
const HOME: &str = "203.0.113.7";
/// A network without earlier logins: the owner while travelling, or a thief.
const AWAY: &str = "192.0.2.1";

/// Past the retry window, which is 30 s by default.
const LATER: u64 = 31;

/// A user with a session at [`HOME`] only.
struct Owner {
    app: TestApp,
    email: String,
    tokens: Tokens,
    journeys: AtomicU32,
}

impl Owner {
    async fn at_home() -> Self {
        let app = TestApp::with(|config: &mut Config| {
            behind_a_proxy(config);
            config.email.url = Some(Secret::new(String::from("file:")));
            config.limits.failed_logins_per_account = 20;
            // Many hashes, whose cost does not matter in these tests.
            config.passwords.iterations = 1;
        })
        .await;
        let email = String::from("ada@example.com");
        app.register(&email, PASSWORD).await.assert_status(201);
        let body = json!({ "email": email, "password": PASSWORD });
        let request = app.post("/login").header("x-forwarded-for", HOME).json(&body);
        let tokens = request.send().await.tokens();
        Self { app, email, tokens, journeys: AtomicU32::new(0) }
    }

    async fn log_in(&self, network: &str, device: Option<&Tokens>, password: &str) -> Answer {
        let token = device.map(|tokens| tokens.refresh.as_str());
        let body = json!({ "email": self.email, "password": password, "known_device": token });
        self.app.post("/login").header("x-forwarded-for", network).json(&body).send().await
    }

    /// From a network without earlier logins: each time another one.
    async fn log_in_away(&self, device: &Tokens, password: &str) -> Answer {
        let n = self.journeys.fetch_add(1, Ordering::Relaxed);
        self.log_in(&format!("198.19.0.{n}"), Some(device), password).await
    }

    async fn refreshed(&self, tokens: &Tokens) -> Tokens {
        self.app.advance(LATER);
        let body = json!({ "refresh_token": tokens.refresh });
        let request = self.app.post("/refresh").header("x-forwarded-for", HOME).json(&body);
        request.send().await.tokens()
    }

    /// Wrong passwords with this device's token, each from another network, until one is refused;
    /// returns how many were compared.
    async fn guesses_with(&self, device: &Tokens) -> usize {
        for n in 0..200 {
            let thief = format!("198.18.0.{n}");
            let answer = self.log_in(&thief, Some(device), WRONG).await;
            if answer.status == 429 {
                return n;
            }
            answer.assert_problem(401, "invalid_credentials");
        }
        200
    }

    /// A wrong password from each of many networks, until unknown sources are rejected.
    async fn guess_from_everywhere(&self) {
        for n in 0..20 {
            self.log_in(&format!("198.51.100.{n}"), None, WRONG).await.assert_status(401);
        }
        self.log_in("198.51.100.20", None, PASSWORD).await.assert_status(429);
    }

    async fn change_password(&self, network: &str, present: &str, new: &str) -> Answer {
        let body = json!({ "current_password": present, "new_password": new });
        let request = self.app.post("/me/password").header("x-forwarded-for", network);
        request.bearer(&self.tokens.access).json(&body).send().await
    }

    fn operator_sets(&self, password: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, password).unwrap();
        let path = file.path().to_str().unwrap();
        let set = ["user", "set-password", &self.email, "--password-file", path];
        assert!(self.app.command(&set).status().unwrap().success());
    }

    async fn change_email(&self, network: &str, password: &str) -> Answer {
        let body = json!({ "email": "grace@example.org", "current_password": password });
        let request = self.app.post("/me/email").header("x-forwarded-for", network);
        request.bearer(&self.tokens.access).json(&body).send().await
    }

    async fn close(&self, network: &str, password: &str) -> Answer {
        let body = json!({ "password": password });
        let request = self.app.post("/me/close").header("x-forwarded-for", network);
        request.bearer(&self.tokens.access).json(&body).send().await
    }
}
