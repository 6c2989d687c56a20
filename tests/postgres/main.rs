//! The API's tests again, on PostgreSQL; and what only several nodes, or a database that can be
//! gone, can show.
//!
//! What is not here again is about the SQLite file itself, or does not touch the database. Without
//! a PostgreSQL server the whole program says so and ends.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what must not be is a failed test")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../api/accounts.rs"]
mod accounts;
#[path = "../api/audit.rs"]
mod audit;
#[path = "../api/bounds.rs"]
mod bounds;
#[path = "../api/caddy.rs"]
mod caddy;
#[path = "../api/clients.rs"]
mod clients;
#[path = "../api/commands.rs"]
mod commands;
#[path = "../api/cookies.rs"]
mod cookies;
#[path = "../api/crash.rs"]
mod crash;
#[path = "../api/data.rs"]
mod data;
#[path = "../api/feed.rs"]
mod feed;
#[path = "../api/flood.rs"]
mod flood;
#[path = "../api/gateway.rs"]
mod gateway;
#[path = "../api/http.rs"]
mod http;
#[path = "../api/jumps.rs"]
mod jumps;
#[path = "../api/keys.rs"]
mod keys;
#[path = "../api/limits.rs"]
mod limits;
#[path = "../api/lockout.rs"]
mod lockout;
#[path = "../api/login.rs"]
mod login;
#[path = "../api/logout.rs"]
mod logout;
#[path = "../api/names.rs"]
mod names;
#[path = "../api/oauth.rs"]
mod oauth;
#[path = "../api/operate.rs"]
mod operate;
#[path = "../api/pages.rs"]
mod pages;
#[path = "../api/printed.rs"]
mod printed;
#[path = "../api/refresh.rs"]
mod refresh;
#[path = "../api/replaced.rs"]
mod replaced;
#[path = "../api/same_work.rs"]
mod same_work;
#[path = "../api/secrecy.rs"]
mod secrecy;
#[path = "../api/skew.rs"]
mod skew;
#[path = "../api/strict.rs"]
mod strict;
#[path = "../api/texts.rs"]
mod texts;
#[path = "../api/theft.rs"]
mod theft;
#[path = "../api/tokens.rs"]
mod tokens;
#[path = "../api/walks.rs"]
mod walks;

mod copy;
mod degraded;
mod deployment;
mod doctor;
mod nodes;
mod outage;
mod races;
mod refused;
mod roles;
mod stopped;
