//! The handlers, grouped by resource. The route table lists each of them.

pub(super) mod accounts;
pub(super) mod admin;
pub(super) mod deferred;
pub(super) mod docs;
pub(super) mod factors;
pub mod feed_connections;
pub(super) mod health;
mod html;
pub(super) mod index;
pub(super) mod mail;
pub(super) mod metadata;
pub(super) mod oauth;
pub(super) mod reset_page;
pub(super) mod revocation_feed;
pub(super) mod sessions;
pub(super) mod verify;
