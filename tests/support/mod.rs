//! The test toolkit: a real server with its own database, and a client that checks each response
//! against `openapi.yaml`.

pub mod app;
pub mod binary;
pub mod browser;
pub mod client;
pub mod commands;
pub mod contract;
pub mod data;
pub mod der;
pub mod docs;
pub mod feed;
pub mod forger;
pub mod jar;
pub mod jwt;
pub mod keys;
pub mod mailbox;
pub mod nginx;
pub mod postgres;
pub mod program;
pub mod raw;
pub mod shell;
pub mod statements;
pub mod totp;

pub use app::TestApp;
pub use client::{Answer, Client, PASSWORD, Tokens, User};

use std::time::Duration;

use doorward::database::Id;
use doorward::sessions::metrics::{RefreshLabel, RefreshOutcome};

/// An id from a response.
#[track_caller]
pub fn id(text: &str) -> Id {
    Id::from(uuid::Uuid::parse_str(text).unwrap())
}

/// The outcomes of refreshes and how often each has come.
pub fn refresh_counts(app: &TestApp) -> impl Iterator<Item = (&'static str, u64)> {
    RefreshOutcome::ALL.iter().map(|&outcome| {
        let counter = app.api.sessions.refreshes().get_or_create(&RefreshLabel { outcome });
        (outcome.as_str(), counter.get())
    })
}

/// The claims of an access token.
#[track_caller]
pub fn claims(token: &str) -> serde_json::Value {
    jwt::Jwt::read(token).claims()
}

/// Waits for the effect of other threads, up to a generous limit.
#[track_caller]
pub fn until(condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    until_within(Duration::from_secs(20), condition)
}

/// Waits longer, for effects that are slow even on an idle machine.
#[track_caller]
pub fn until_within(
    patience: Duration,
    condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let mut condition = condition;
        let met = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(patience, met).await;
        assert!(waited.is_ok(), "still waiting at {caller}");
    }
}
