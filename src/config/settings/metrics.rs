//! The section `[metrics]`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Metrics for Prometheus.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Whether `/metrics` is served, over plain http on a separate address.
    pub enabled: bool,
    /// The address and port for `/metrics`. It needs no authentication, and reveals the load of
    /// this node but no user data.
    pub listen: SocketAddr,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { enabled: false, listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}
