//! The whole API, over real sockets against the real service.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what must not be is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod audit;
mod backup;
mod bounds;
mod browser;
mod caddy;
mod clients;
mod commands;
mod complete;
mod cookies;
mod crash;
mod damaged;
mod data;
mod disk;
mod doctor;
mod faults;
mod feed;
mod files;
mod flood;
mod gateway;
mod hash;
mod http;
mod interop;
mod jumps;
mod keys;
mod limits;
mod lockout;
mod login;
mod logout;
mod logs;
mod memory;
mod metrics;
mod mutations;
mod names;
mod oauth;
mod old_proxies;
mod operate;
mod pages;
mod printed;
mod readme;
mod refresh;
mod replaced;
mod restart;
mod same_work;
mod secrecy;
mod sites;
mod skew;
mod slow;
mod start;
mod stop;
mod storm;
mod strict;
mod texts;
mod theft;
mod tls;
mod tokens;
mod trace;
mod walks;
