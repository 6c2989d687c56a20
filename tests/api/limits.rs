//! Limits, by exceeding them: requests by address, wrong passwords by account, hashes by time.

mod addresses;
mod guesses;
mod known;
mod networks;
mod operations;
mod queue;

use doorward::config::Config;
use serde_json::{Value, json};

use crate::support::app::{CROWD, behind_a_proxy};
use crate::support::{Answer, PASSWORD, TestApp, Tokens};

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";
const WRONG: &str = "not my password at all";

/// The home network of an account's owner.
const HOME: &str = "203.0.113.7";
/// A network without known users.
const ELSEWHERE: &str = "192.0.2.1";

/// A queue with room for every hash, without timeouts.
fn patient(config: &mut Config) {
    config.passwords.queue_capacity = 1000;
    config.database.pool_size = CROWD;
}

/// Twenty wrong passwords for an account, and ten for each of its sources.
fn under_attack(config: &mut Config) {
    behind_a_proxy(config);
    config.limits.failed_logins_per_account = 20;
    // Many hashes, whose cost does not matter in these tests.
    config.passwords.iterations = 1;
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").expect("Retry-After").parse().unwrap()
}

async fn log_in_from(app: &TestApp, address: &str, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    post_login(app, address, &body).await
}

async fn log_in_with_device(
    app: &TestApp,
    address: &str,
    email: &str,
    password: &str,
    token: &str,
) -> Answer {
    let body = json!({ "email": email, "password": password, "known_device": token });
    post_login(app, address, &body).await
}

async fn post_login(app: &TestApp, address: &str, body: &Value) -> Answer {
    app.post("/login").header("x-forwarded-for", address).json(body).send().await
}

/// A user with a session at [`HOME`] only.
async fn signed_up_at_home(app: &TestApp) -> (String, Tokens) {
    let email = format!("{}@example.com", uuid::Uuid::new_v4());
    app.register(&email, PASSWORD).await.assert_status(201);
    let tokens = log_in_from(app, HOME, &email, PASSWORD).await.tokens();
    (email, tokens)
}

/// An attack from unknown sources: a wrong password from each of many addresses, until the
/// account's limit is reached.
async fn exhaust_the_account_limit(app: &TestApp, email: &str) {
    for n in 0..20 {
        let address = format!("198.51.100.{n}");
        log_in_from(app, &address, email, WRONG).await.assert_status(401);
    }
    log_in_from(app, "198.51.100.20", email, WRONG).await.assert_status(429);
}
