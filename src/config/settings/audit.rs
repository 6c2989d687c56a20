//! The section `[audit]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::DAY;
use crate::config::serde_formats;

/// The stored security events.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// The retention of events, for `doorward audit` and for each user at `/me/activity`: 1d to
    /// 3650d.
    #[serde(with = "serde_formats::duration")]
    pub retention: Duration,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { retention: Duration::from_secs(90 * DAY) }
    }
}
