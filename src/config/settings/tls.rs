//! The section `[tls]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::serde_formats;

/// HTTPS.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate in PEM, followed by its chain of intermediate certificates. With it Doorward
    /// serves https only on `listen`. The file is read again when it changes.
    pub cert: PathBuf,
    /// The certificate's private key in PEM.
    pub key: PathBuf,
    /// An address and port where plain http is redirected to `public_url`: `0.0.0.0:80`. Empty:
    /// none.
    #[serde(with = "serde_formats::address")]
    pub http_redirect_listen: Option<SocketAddr>,
    /// `Strict-Transport-Security` of every response while `public_url` is https (RFC 6797):
    /// `max-age` in seconds, then `includeSubDomains` and `preload` if every host below this one
    /// serves https. Empty: not sent, for a proxy that sends its own.
    pub hsts: String,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert: PathBuf::new(),
            key: PathBuf::new(),
            http_redirect_listen: None,
            hsts: String::from("max-age=31536000"),
        }
    }
}
