//! The whole API, over real sockets against the real service.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot continue has \
                                                              failed"
)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod admin;
mod admin_api;
mod audit;
mod bounds;
mod caddy;
mod clients;
mod commands;
mod cookies;
mod crash;
mod data;
mod dummy_hashes;
mod factors;
mod feed;
mod flood;
mod gateway;
mod http;
mod jumps;
mod keys;
mod limits;
mod lockout;
mod logged_out_twice;
mod login;
mod logout;
mod mail;
mod names;
mod oauth;
mod once;
mod pages;
mod printed;
mod refresh;
mod replaced;
mod same_work;
mod secrecy;
mod skew;
mod strict;
mod texts;
mod theft;
mod tokens;
mod walks;
