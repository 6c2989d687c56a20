//! What every test stands on: a real server on a database of its own, and a client that checks each
//! answer against `openapi.yaml`.

pub mod app;
pub mod client;
pub mod contract;
pub mod raw;

pub use app::TestApp;
pub use client::{Answer, Tokens, User};
