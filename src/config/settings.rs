//! All settings: meaning and default. Each section has a file of its name, but `[cors]` and
//! `[cookies]` share `browser.rs`.
//!
//! Each setting is defined here only. Its type defines the form of a value, its default the TOML
//! type into which a variable's text is converted, and its doc comment is printed above it by
//! `doorward config` (`render` lists the files); so these comments are written for operators.
//! Bounds are checked in `validate`.

mod accounts;
mod admin;
mod audit;
mod browser;
mod database;
mod docs;
mod email;
mod limits;
mod log;
mod metrics;
mod passwords;
mod revocations;
mod sessions;
mod tls;
mod tokens;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use accounts::{AccountsConfig, Registration, RequireSecondFactor, Verification};
pub use admin::AdminConfig;
pub use audit::AuditConfig;
pub use browser::{CookiesConfig, CorsConfig, SameSite};
pub use database::DatabaseConfig;
pub use docs::DocsConfig;
pub use email::{EmailConfig, EmailLinksConfig};
pub use limits::LimitsConfig;
pub use log::{LogConfig, LogFormat};
pub use metrics::MetricsConfig;
pub use passwords::PasswordsConfig;
pub use revocations::{RevocationSync, RevocationsConfig};
pub use sessions::SessionsConfig;
pub use tls::TlsConfig;
pub use tokens::TokensConfig;

use super::serde_formats;
use crate::secret::Secret;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// Every setting. Serialising it never reveals a secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on. Port 0 lets the system choose one. A socket inherited from
    /// the parent process (systemd's socket activation, `LISTEN_FDS`) is used instead.
    pub listen: SocketAddr,
    /// Whether further processes of the same user may listen on the same addresses, so that the
    /// next version can start before this one stops (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// The URL under which clients reach Doorward: the issuer in every token, and the base of every
    /// published URL. http or https, without query or fragment. Empty: `http://<listen>`, or
    /// `https://<listen>` with `tls.cert`.
    pub public_url: String,
    /// The proxies in front of Doorward: addresses or networks (`10.0.0.0/8`). Only their
    /// `X-Forwarded-For` determines a client's address.
    #[serde(with = "serde_formats::networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// The directory for Doorward's data: the SQLite database and its secret.
    pub data_dir: PathBuf,
    /// `sqlite://<path>` or `postgres://<user>:<password>@<host>/<database>`. Empty: `doorward.db`
    /// in `data_dir`. It can be read from a file named by `database_url_file`.
    #[serde(with = "serde_formats::secret_url")]
    pub database_url: Option<Secret<String>>,
    /// The master secret, from which every other key is derived: 32 random bytes in base64
    /// (`doorward secret new`). It can be read from a file named by `secret_file`. Empty: with
    /// SQLite, the file `secret` in `data_dir`, created at the first start.
    #[serde(with = "serde_formats::hidden")]
    pub secret: Option<Secret<String>>,
    /// The previous master secret, while the data that it protects is re-encrypted. It can be read
    /// from a file named by `previous_secret_file`.
    #[serde(with = "serde_formats::hidden")]
    pub previous_secret: Option<Secret<String>>,
    /// The audience of access tokens, claim `aud`: 1 to 100 visible ASCII characters.
    pub audience: String,
    /// Threads that process requests: 0 (one for each core) to 1024.
    pub workers: usize,
    /// How long a stopping server continues to accept requests while `/readyz` already answers 503,
    /// so that load balancers stop sending to it: 0s to 10m.
    #[serde(with = "serde_formats::duration")]
    pub shutdown_delay: Duration,
    /// How long a stopping server waits for requests in progress: 0s (it cuts them off) to 10m.
    #[serde(with = "serde_formats::duration")]
    pub shutdown_timeout: Duration,
    /// The log.
    pub log: LogConfig,
    /// HTTPS.
    pub tls: TlsConfig,
    /// Access tokens and the keys that sign them.
    pub tokens: TokensConfig,
    /// Sessions and their refresh tokens.
    pub sessions: SessionsConfig,
    /// Passwords and their hashes.
    pub passwords: PasswordsConfig,
    /// Limits for each client.
    pub limits: LimitsConfig,
    /// The revocation list in each node's memory.
    pub revocations: RevocationsConfig,
    /// The stored security events.
    pub audit: AuditConfig,
    /// Web pages that may call the API.
    pub cors: CorsConfig,
    /// Cookies, for pages that log in with `"transport": "cookie"`.
    pub cookies: CookiesConfig,
    /// The admin API.
    pub admin: AdminConfig,
    /// The page about the API.
    pub docs: DocsConfig,
    /// Metrics for Prometheus.
    pub metrics: MetricsConfig,
    /// The database's connections.
    pub database: DatabaseConfig,
    /// Registration and second factors.
    pub accounts: AccountsConfig,
    /// E-mail.
    pub email: EmailConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            reuse_port: false,
            public_url: String::new(),
            trusted_proxies: Vec::new(),
            data_dir: PathBuf::from("doorward-data"),
            database_url: None,
            secret: None,
            previous_secret: None,
            audience: String::from("doorward"),
            workers: 0,
            shutdown_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(30),
            log: LogConfig::default(),
            tls: TlsConfig::default(),
            tokens: TokensConfig::default(),
            sessions: SessionsConfig::default(),
            passwords: PasswordsConfig::default(),
            limits: LimitsConfig::default(),
            revocations: RevocationsConfig::default(),
            audit: AuditConfig::default(),
            cors: CorsConfig::default(),
            cookies: CookiesConfig::default(),
            admin: AdminConfig::default(),
            docs: DocsConfig::default(),
            metrics: MetricsConfig::default(),
            database: DatabaseConfig::default(),
            accounts: AccountsConfig::default(),
            email: EmailConfig::default(),
        }
    }
}
