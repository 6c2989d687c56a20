//! The parts of a request: its client, its source, its credentials, its body.
//!
//! Each is an extractor of actix-web, or a function that one uses; a value that is malformed
//! becomes a problem document before the handler runs.

pub(super) mod authenticated;
pub(super) mod body_buffer;
pub mod client_auth;
pub mod client_ip;
pub mod cookies;
pub mod credentials;
pub(super) mod csrf;
pub(super) mod form;
pub mod idempotency_key;
pub mod json;
pub(super) mod language;
pub(super) mod operator;
pub(super) mod requester;
pub(super) mod second_factor;
pub mod traceparent;
pub mod user_agent;
