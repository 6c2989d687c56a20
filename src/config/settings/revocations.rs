//! The section `[revocations]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::serde_formats;
use crate::revocations::StalePolicy;

/// The revocation list in each node's memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RevocationsConfig {
    /// A node that has not read the database's revocations for this long is stale: 5s to 1h. From
    /// 5s on, `/readyz` answers 503.
    #[serde(with = "serde_formats::duration")]
    pub max_staleness: Duration,
    /// The treatment of access tokens by a stale node: `fail_closed` (503) or `fail_open` (trust
    /// them).
    pub when_stale: StalePolicy,
    /// A node on PostgreSQL whose clock differs from the database's by more than this verifies and
    /// issues no tokens (503): 5s (from then on `/readyz` answers 503) to 5m.
    #[serde(with = "serde_formats::duration")]
    pub max_clock_skew: Duration,
    /// How a node on PostgreSQL learns of other nodes' revocations: `listen` (LISTEN, and new ones
    /// once a second) or `poll` (the whole list once a second: for poolers in transaction mode, and
    /// databases that only implement PostgreSQL's protocol).
    pub sync: RevocationSync,
    /// With this many revocations (1000 to 100000000, about 63 bytes of memory each) `/revoke` of
    /// single access tokens is rejected (503) until others have expired. Sessions can always be
    /// ended. A verifier's `max_revocations` must be larger.
    pub max_entries: usize,
}

impl Default for RevocationsConfig {
    fn default() -> Self {
        Self {
            max_staleness: Duration::from_secs(30),
            when_stale: StalePolicy::FailClosed,
            max_clock_skew: Duration::from_secs(30),
            sync: RevocationSync::Listen,
            max_entries: 500_000,
        }
    }
}

/// How a node on PostgreSQL learns of other nodes' revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationSync {
    /// By notifications, and by polling for new ones once a second.
    Listen,
    /// By reading the whole list once a second.
    Poll,
}
