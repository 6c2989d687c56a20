//! The section `[limits]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DAY, MINUTE};
use crate::config::serde_formats;

/// Limits for each client. Each node counts for itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests with a password per minute from one address (IPv6: one /64): 1 to 60000. Wrong
    /// client secrets are counted separately, with the same numbers.
    pub login_per_minute: u32,
    /// The burst of these: 1 to 100000.
    pub login_burst: u32,
    /// Registrations and requests for mail per minute from one address: 1 to 60000.
    pub register_per_minute: u32,
    /// The burst of these: 1 to 100000.
    pub register_burst: u32,
    /// Refreshes per minute of one session, regardless of the address: 1 to 60000.
    pub refresh_per_minute: u32,
    /// The burst of these: 1 to 100000.
    pub refresh_burst: u32,
    /// Wrong passwords for one account within the window from one address, or from the holders of a
    /// session's newest refresh tokens, of its older ones, or of its access tokens: 1 to
    /// `failed_logins_per_account`.
    pub failed_logins_per_address: u32,
    /// Wrong passwords for one account from all sources within the window: 1 to 100 (NIST SP
    /// 800-63B-4 3.2.2). Beyond it, only previously used addresses and devices can log in.
    pub failed_logins_per_account: u32,
    /// The time in which wrong passwords are counted: 1m to 1d.
    #[serde(with = "serde_formats::duration")]
    pub failed_login_window: Duration,
    /// How long the address of an earlier session counts as known: 0s to
    /// `sessions.ended_retention`.
    #[serde(with = "serde_formats::duration")]
    pub known_address_lifetime: Duration,
    /// The most clients that each limiter tracks: 1000 to 10000000. About 100 bytes each.
    pub max_tracked_clients: usize,
    /// The longest request body in bytes: 4096 (two of the longest passwords fit) to 1048576.
    pub max_body_bytes: usize,
    /// The time in which the head of a request must arrive, and then its body: 1s to 20s, and
    /// longer than `passwords.queue_deadline`. A connection on which nothing was sent back for
    /// twice this time, or for 25s, is closed.
    #[serde(with = "serde_formats::duration")]
    pub request_timeout: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            login_per_minute: 60,
            login_burst: 60,
            register_per_minute: 10,
            register_burst: 30,
            refresh_per_minute: 60,
            refresh_burst: 200,
            failed_logins_per_address: 10,
            failed_logins_per_account: 100,
            failed_login_window: Duration::from_secs(15 * MINUTE),
            known_address_lifetime: Duration::from_secs(90 * DAY),
            max_tracked_clients: 100_000,
            max_body_bytes: 65_536,
            request_timeout: Duration::from_secs(15),
        }
    }
}
