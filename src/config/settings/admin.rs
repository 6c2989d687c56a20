//! The section `[admin]`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The admin API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Whether the admin API (`/admin/…`) is served. Its callers are clients with scopes that
    /// `doorward client add --scope doorward:users.read` grants.
    pub enabled: bool,
    /// The address and port for the admin API, with `tls.cert` over https.
    pub listen: SocketAddr,
    /// Whether the admin API is served on the main port instead, which may be public.
    pub on_main_port: bool,
}

impl Default for AdminConfig {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 9465));
        Self { enabled: false, listen, on_main_port: false }
    }
}
