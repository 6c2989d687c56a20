//! Whether a stranger can lock an account's owner out: by guesses from everywhere, by a spent refresh
//! token, by an access token.

use std::sync::atomic::{AtomicU32, Ordering};

use doorward::config::Config;
use serde_json::json;

use crate::support::app::behind_a_proxy;
use crate::support::{Answer, PASSWORD, TestApp, Tokens};

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";
const WRONG: &str = "not my password at all";

/// The owner's network, from which she has logged in.
const HOME: &str = "203.0.113.7";
/// A network that nobody has logged in from: the owner on the way, or a thief.
const AWAY: &str = "192.0.2.1";

/// Past the retry window, which is 30 s by default.
const LATER: u64 = 31;

/// Wrong passwords that a network or a lane of a session takes, by default.
const LANE: usize = 10;

#[tokio::test]
async fn the_holder_of_a_spent_token_cannot_use_up_the_guesses_of_the_present_one() {
    let owner = Owner::at_home().await;
    let spent = owner.tokens.clone();
    let parent = owner.refreshed(&spent).await;
    let present = owner.refreshed(&parent).await;
    owner.guess_from_everywhere().await;

    assert_eq!(owner.guesses_with(&spent).await, LANE);
    owner.log_in_away(&spent, PASSWORD).await.assert_problem(429, "too_many_failed_logins");
    owner.log_in_away(&present, PASSWORD).await.assert_status(200);
    // Its answer may have been lost: the parent's holder is as good.
    owner.log_in_away(&parent, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn the_spent_tokens_of_a_session_share_one_allowance_and_the_two_newest_another() {
    let owner = Owner::at_home().await;
    let mut generations = vec![owner.tokens.clone()];
    for _ in 0..4 {
        generations.push(owner.refreshed(&generations[generations.len() - 1]).await);
    }
    owner.guess_from_everywhere().await;
    assert_eq!(owner.guesses_with(&generations[0]).await, LANE);
    for spent in &generations[1..3] {
        assert_eq!(owner.guesses_with(spent).await, 0);
    }
    assert_eq!(owner.guesses_with(&generations[3]).await, LANE);
    assert_eq!(owner.guesses_with(&generations[4]).await, 0);
}

#[tokio::test]
async fn the_owner_gets_in_from_home_when_a_thief_has_used_up_the_guesses_of_her_token() {
    let owner = Owner::at_home().await;
    owner.guess_from_everywhere().await;
    assert_eq!(owner.guesses_with(&owner.tokens).await, LANE);
    owner.log_in_away(&owner.tokens, PASSWORD).await.assert_status(429);
    owner.log_in(HOME, Some(&owner.tokens), PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn all_devices_of_an_account_together_have_a_hundred_guesses() {
    let owner = Owner::at_home().await;
    let mut devices = Vec::new();
    for _ in 0..12 {
        devices.push(owner.log_in(HOME, None, PASSWORD).await.tokens());
    }
    owner.guess_from_everywhere().await;
    let mut guesses = 0;
    for device in &devices {
        guesses += owner.guesses_with(device).await;
    }
    assert_eq!(guesses, 100);
    owner.log_in_away(&owner.tokens, PASSWORD).await.assert_status(429);
    owner.log_in(HOME, Some(&owner.tokens), PASSWORD).await.assert_status(200);
    owner.app.advance(900);
    owner.guess_from_everywhere().await;
    owner.log_in_away(&owner.tokens, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_spent_token_at_the_login_leaves_the_doors_of_a_logged_in_user_open() {
    let mut owner = Owner::at_home().await;
    owner.guess_from_everywhere().await;
    assert_eq!(owner.guesses_with(&owner.tokens).await, LANE);

    let changed = owner.change_password(AWAY, PASSWORD, NEW_PASSWORD).await;
    owner.tokens = changed.assert_status(200).tokens();
    owner.close(AWAY, NEW_PASSWORD).await.assert_status(204);
}

#[tokio::test]
async fn guesses_with_an_access_token_leave_the_owner_her_home_and_her_devices() {
    let mut owner = Owner::at_home().await;
    owner.guess_from_everywhere().await;
    for n in 0..LANE {
        let thief = format!("192.0.2.{}", 100 + n);
        owner.change_password(&thief, WRONG, NEW_PASSWORD).await.assert_status(403);
    }
    owner.change_password(AWAY, PASSWORD, NEW_PASSWORD).await.assert_status(429);
    owner.close(AWAY, PASSWORD).await.assert_problem(429, "too_many_failed_logins");

    owner.log_in_away(&owner.tokens, PASSWORD).await.assert_status(200);
    let changed = owner.change_password(HOME, PASSWORD, NEW_PASSWORD).await;
    owner.tokens = changed.assert_status(200).tokens();
    owner.close(AWAY, NEW_PASSWORD).await.assert_status(204);
}

#[tokio::test]
async fn a_session_that_ended_by_reuse_vouches_for_no_device() {
    let owner = Owner::at_home().await;
    let elsewhere = owner.log_in(AWAY, None, PASSWORD).await.tokens();
    let present = owner.refreshed(&owner.refreshed(&owner.tokens).await).await;
    owner.app.refresh(&owner.tokens.refresh).await.assert_ended("refresh_token_reused");
    owner.guess_from_everywhere().await;

    let stranger = "192.0.2.9";
    for token in [&owner.tokens, &present] {
        let refused = owner.log_in(stranger, Some(token), PASSWORD).await;
        refused.assert_problem(429, "too_many_failed_logins");
        // Nobody is refused for showing it.
        owner.log_in(AWAY, Some(token), PASSWORD).await.assert_status(200);
    }
    owner.log_in(stranger, Some(&elsewhere), PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn after_a_change_of_password_only_the_device_that_made_it_is_known() {
    let owner = Owner::at_home().await;
    let stolen = owner.log_in(HOME, None, PASSWORD).await.tokens();
    let logged_out = owner.log_in(HOME, None, PASSWORD).await.tokens();
    let out = owner.app.post("/logout").bearer(&logged_out.access).send().await;
    out.assert_status(204);
    let changed = owner.change_password(HOME, PASSWORD, NEW_PASSWORD).await.tokens();
    owner.app.refresh(&owner.tokens.refresh).await.assert_ended("password_changed");
    owner.guess_from_everywhere().await;

    let refused = owner.log_in_away(&stolen, NEW_PASSWORD).await;
    refused.assert_problem(429, "too_many_failed_logins");
    // The answer to the change may have been lost: its device has only the token from before.
    for token in [&owner.tokens, &changed, &logged_out] {
        owner.log_in_away(token, NEW_PASSWORD).await.assert_status(200);
        owner.app.advance(900);
        owner.guess_from_everywhere().await;
    }
}

#[tokio::test]
async fn a_password_that_an_operator_sets_takes_trust_from_every_device() {
    let owner = Owner::at_home().await;
    owner.operator_sets(NEW_PASSWORD);
    owner.guess_from_everywhere().await;
    owner.log_in_away(&owner.tokens, NEW_PASSWORD).await.assert_status(429);
}

#[tokio::test]
async fn a_later_change_of_password_takes_trust_from_the_device_that_made_the_one_before() {
    let mut owner = Owner::at_home().await;
    let first = owner.tokens.clone();
    let changed = owner.change_password(HOME, PASSWORD, NEW_PASSWORD).await;
    owner.tokens = changed.assert_status(200).tokens();
    let second = owner.tokens.clone();
    let changed = owner.change_password(HOME, NEW_PASSWORD, PASSWORD).await;
    owner.tokens = changed.assert_status(200).tokens();
    owner.guess_from_everywhere().await;
    owner.log_in_away(&first, PASSWORD).await.assert_problem(429, "too_many_failed_logins");
    owner.log_in_away(&second, PASSWORD).await.assert_status(200);

    owner.app.advance(900);
    owner.operator_sets(NEW_PASSWORD);
    owner.guess_from_everywhere().await;
    owner.log_in_away(&second, NEW_PASSWORD).await.assert_status(429);
}

/// Somebody with a session at [`HOME`] and nowhere else.
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
            config.limits.failed_logins_per_account = 20;
            // Many hashes; their price is not what these tests are about.
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

    /// From a network that nobody has logged in from: each time another one.
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
    /// how many were compared.
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

    /// A wrong password from each of many networks, until strangers get in no more.
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

    async fn close(&self, network: &str, password: &str) -> Answer {
        let body = json!({ "password": password });
        let request = self.app.post("/me/close").header("x-forwarded-for", network);
        request.bearer(&self.tokens.access).json(&body).send().await
    }
}
