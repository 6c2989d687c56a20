//! The section `[sessions]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::DAY;
use crate::config::serde_formats;

/// Sessions and their refresh tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsConfig {
    /// The idle timeout of a session, since its last refresh: `tokens.lifetime` to
    /// `sessions.absolute_timeout`.
    #[serde(with = "serde_formats::duration")]
    pub idle_timeout: Duration,
    /// The absolute timeout of a session, since its login: `sessions.idle_timeout` to 400d, the
    /// longest that browsers keep a cookie (RFC 6265bis). NIST SP 800-63B-4 2.1.3 advises 30d at
    /// most.
    #[serde(with = "serde_formats::duration")]
    pub absolute_timeout: Duration,
    /// How long after a rotation the previous token is accepted without proof: 0s (strict) to
    /// `tokens.lifetime`. It must be longer than a request and its response take.
    #[serde(with = "serde_formats::duration")]
    pub retry_window: Duration,
    /// Live sessions of one user: 1 to 10000. One more ends another: first those that were never
    /// refreshed, then the least recently used.
    pub max_per_user: u32,
    /// How long ended sessions are kept, for their end reasons and addresses: 1d to 3650d.
    #[serde(with = "serde_formats::duration")]
    pub ended_retention: Duration,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30 * DAY),
            absolute_timeout: Duration::from_secs(90 * DAY),
            retry_window: Duration::from_secs(30),
            max_per_user: 100,
            ended_retention: Duration::from_secs(90 * DAY),
        }
    }
}
