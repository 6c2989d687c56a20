//! Tests that need PostgreSQL or several nodes: revocations of one node are enforced by the others,
//! and behaviour while the database is unreachable.
//!
//! Without a PostgreSQL server the whole program prints so and ends.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot continue has \
                                                              failed"
)]

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "tests/api uses the rest")]
mod support;

mod clocks;
mod copy;
mod crowded;
mod degraded;
mod deployment;
mod doctor;
mod factors;
mod first_ready;
mod mail;
mod outage;
mod own_server;
mod proxy;
mod races;
mod refused;
mod roles;
mod secret_change;
mod stopped;
mod sync;
