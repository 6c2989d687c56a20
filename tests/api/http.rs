//! HTTP input: malformed bodies, malformed requests, requests that never end; and the common
//! properties of all responses.

mod bodies;
mod connections;
mod cors;
mod forwarded;
mod front;
mod headers;
mod heads;
mod json;
mod public;
mod routes;

use std::collections::BTreeSet;
use std::time::Duration;

use doorward::config::Config;
use serde_json::{Value, json};

use crate::support::client::PASSWORD;
use crate::support::{Answer, User};

/// A service with the shortest timeouts.
fn impatient(config: &mut Config) {
    config.limits.request_timeout = Duration::from_secs(1);
    config.passwords.queue_deadline = Duration::from_millis(500);
}

/// The routes with a body, each with a valid one.
fn routes_with_body() -> [(&'static str, Value); 6] {
    [
        ("/register", json!({ "email": "door@example.com", "password": "short" })),
        ("/login", json!({ "email": "door@example.com", "password": "short" })),
        ("/refresh", json!({ "refresh_token": "dwr_" })),
        ("/logout", json!({ "refresh_token": "dwr_" })),
        ("/me/password", json!({ "current_password": "a", "new_password": "b" })),
        ("/me/close", json!({ "password": "a" })),
    ]
}

/// No rejected request had an effect.
async fn unharmed(mut user: User<'_>) {
    user.me().await.assert_status(200);
    user.refresh().await.assert_status(200);
    assert_eq!(user.tokens.generation, 1);
    user.app.log_in("door@example.com", "short").await.assert_status(401);
    user.app.log_in(&user.email, PASSWORD).await.assert_status(200);
}

#[track_caller]
fn assert_guarded(answer: &Answer) {
    for (name, value) in [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")]
    {
        assert_eq!(answer.header(name), Some(value), "{}: {:?}", answer.status, answer.headers);
    }
    let policy = answer.header("content-security-policy").unwrap();
    let is_page = answer.header("content-type").is_some_and(|it| it.starts_with("text/html"));
    if is_page {
        // A page has a policy of its own, which names no other host.
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("; frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("http") && !policy.contains('*'), "{policy}");
    } else {
        assert_eq!(policy, "default-src 'none'; frame-ancestors 'none'", "{}", answer.status);
    }
    let is_kept = answer.header("cache-control").is_some_and(|it| it.starts_with("public"));
    assert!(!is_kept || answer.status < 400, "{:?}", answer.headers);
}

/// The elements of a list header, in lower case.
fn list(answer: &Answer, name: &str) -> BTreeSet<String> {
    let fields = answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
    fields.flat_map(|it| it.split(',')).map(|it| it.trim().to_ascii_lowercase()).collect()
}

/// A file of RFC 1952 whose blocks are stored as they are (RFC 1951 3.2.4).
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = content.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        file.push(u8::from(blocks.peek().is_none()));
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(block);
    }
    let checksum = content.iter().fold(!0_u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    });
    file.extend((!checksum).to_le_bytes());
    file.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    file
}
