//! The whole API, over real sockets against the real service.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what must not be is a failed test")]

mod accounts;
mod audit;
mod backup;
mod bounds;
mod browser;
mod clients;
mod complete;
mod cookies;
mod crash;
mod data;
mod disk;
mod doctor;
mod faults;
mod feed;
mod files;
mod gateway;
mod hash;
mod http;
mod interop;
mod keys;
mod limits;
mod login;
mod logout;
mod logs;
mod memory;
mod metrics;
mod mutations;
mod oauth;
mod operate;
mod readme;
mod refresh;
mod restart;
mod secrecy;
mod skew;
mod slow;
mod start;
mod stop;
mod storm;
mod support;
mod theft;
mod tls;
mod tokens;
mod trace;
mod walks;
