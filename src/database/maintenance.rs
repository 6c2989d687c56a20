//! Operator tools: migrations, schema drift, health checks, backups and copies.

pub mod backup;
pub mod copy;
pub(super) mod drift;
pub(super) mod health;
pub(super) mod migrations;
