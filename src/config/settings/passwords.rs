//! The section `[passwords]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::serde_formats;

/// Passwords and their hashes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordsConfig {
    /// The shortest new password, in characters: 8 to 64 (NIST SP 800-63B-4 3.1.1.2: 15 for a
    /// password that stands alone, and never under 8).
    pub min_length: usize,
    /// How hard a new password must be to guess, by zxcvbn's score: 0 (anything) to 4.
    pub min_score: u8,
    /// Argon2id's memory in KiB, allocated once by each thread: 7168 to 1048576. Its product with
    /// `iterations` must be 35840 or more, the minimum of OWASP's Password Storage Cheat Sheet.
    pub memory_kib: u32,
    /// Argon2id's passes over that memory: 1 to 100.
    pub iterations: u32,
    /// Argon2id's lanes: 1 to 16. They are computed sequentially.
    pub parallelism: u32,
    /// Threads that hash: 0 (one for each core) to 1024.
    pub threads: usize,
    /// Hashes that may wait for a thread: 0 (16 for each thread) to 100000.
    pub queue_capacity: usize,
    /// A hash that has waited this long is dropped and answered 503: 100ms to 10s.
    #[serde(with = "serde_formats::duration")]
    pub queue_deadline: Duration,
}

impl Default for PasswordsConfig {
    fn default() -> Self {
        Self {
            min_length: 15,
            min_score: 3,
            memory_kib: 19456,
            iterations: 2,
            parallelism: 1,
            threads: 0,
            queue_capacity: 0,
            queue_deadline: Duration::from_secs(2),
        }
    }
}
