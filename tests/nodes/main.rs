//! Tests that only PostgreSQL or several nodes can have: what one node revokes the others refuse, and
//! what happens while the database is away.
//!
//! Without a PostgreSQL server the whole program says so and ends.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what must not be is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod clocks;
mod copy;
mod crowded;
mod degraded;
mod deployment;
mod doctor;
mod first_ready;
mod outage;
mod races;
mod refused;
mod roles;
mod stopped;
mod sync;
