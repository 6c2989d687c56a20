//! All settings: meaning and default.
//!
//! Each setting is defined here only. Its type defines the form of a value, its default the TOML
//! type into which a variable's text is converted, and its doc comment is printed above it by
//! `doorward config`; so these comments are written for operators. Bounds are checked in
//! `validate`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::serde_formats;
use crate::secret::Secret;
use crate::tokens::Algorithm;

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
    #[serde(with = "serde_formats::database_url")]
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
    /// Web pages that may call.
    pub cors: CorsConfig,
    /// Cookies, for pages that log in with `"transport": "cookie"`.
    pub cookies: CookiesConfig,
    /// Metrics for Prometheus.
    pub metrics: MetricsConfig,
    /// The database's connections.
    pub database: DatabaseConfig,
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
            metrics: MetricsConfig::default(),
            database: DatabaseConfig::default(),
        }
    }
}

/// The log, on standard error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text` or `json`: one event is one line in both.
    pub format: LogFormat,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; also for one module:
    /// `info,doorward::sessions=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: String::from("info,actix_server=warn,actix_http=off"),
        }
    }
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For human readers.
    Text,
    /// One JSON object per line.
    Json,
}

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

/// Access tokens and the keys that sign them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokensConfig {
    /// `ES256` (every verifier supports it), `EdDSA` or `RS256`.
    pub algorithm: Algorithm,
    /// The lifetime of an access token: 1m to 1d. Revocations are kept about as long, and a
    /// verifier without the revocation feed trusts a token that long.
    #[serde(with = "serde_formats::duration")]
    pub lifetime: Duration,
    /// How long a key signs before the next one takes over: 1d to 3650d.
    #[serde(with = "serde_formats::duration")]
    pub key_lifetime: Duration,
    /// How long clients may cache the published keys, and so how long a new key is published before
    /// it signs: 1m to 1d.
    #[serde(with = "serde_formats::duration")]
    pub jwks_max_age: Duration,
    /// The clock difference that other services may tolerate: 0s to 5m. Doorward itself tolerates
    /// none.
    #[serde(with = "serde_formats::duration")]
    pub verifier_leeway: Duration,
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Es256,
            lifetime: Duration::from_secs(10 * MINUTE),
            key_lifetime: Duration::from_secs(90 * DAY),
            jwks_max_age: Duration::from_secs(10 * MINUTE),
            verifier_leeway: Duration::from_secs(30),
        }
    }
}

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
    /// Live sessions of one user: 1 to 10000. One more ends the least recently used.
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

/// Limits for each client. Each node counts for itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests with a password per minute from one address (IPv6: one /64): 1 to 60000. Wrong
    /// client secrets are counted separately, with the same numbers.
    pub login_per_minute: u32,
    /// The burst of these: 1 to 100000.
    pub login_burst: u32,
    /// Registrations per minute from one address: 1 to 60000.
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
    /// The time in which a request must arrive and be answered: 1s to 20s, and longer than
    /// `passwords.queue_deadline`.
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

/// The revocation list in each node's memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RevocationsConfig {
    /// A node that has not read the database's revocations for this long is stale: 5s (from then on
    /// `/readyz` answers 503) to 1h.
    #[serde(with = "serde_formats::duration")]
    pub max_staleness: Duration,
    /// The treatment of access tokens by a stale node: `fail_closed` (503) or `fail_open` (trust
    /// them).
    pub when_stale: WhenStale,
    /// A node on PostgreSQL whose clock differs from the database's by more (5s, from where on
    /// `/readyz` says no, to 5m) verifies and issues no tokens (503).
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
            when_stale: WhenStale::FailClosed,
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

/// The treatment of access tokens while revocations may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenStale {
    /// Reject it temporarily.
    FailClosed,
    /// Accept it, although it may have been revoked.
    FailOpen,
}

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

/// Web pages that may call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsConfig {
    /// The origins of pages that may call from a browser, in the form that browsers send:
    /// `https://app.example.com`.
    pub origins: Vec<String>,
    /// Headers that these pages may send in addition to Doorward's own, `traceparent`, `tracestate`
    /// and `baggage`: `x-requested-with`, `sentry-trace`. At most 20.
    pub headers: Vec<String>,
}

/// Cookies, for pages that log in with `"transport": "cookie"`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CookiesConfig {
    /// The pages whose requests carry the cookies: `lax` (this site's, and navigations by links
    /// from elsewhere), `strict` (this site's only) or `none` (every site's; needs an https
    /// `public_url`). In every mode only pages of the same origin and of `cors.origins` can change
    /// anything.
    pub same_site: SameSite,
}

impl Default for CookiesConfig {
    fn default() -> Self {
        Self { same_site: SameSite::Lax }
    }
}

/// `SameSite` of the cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// On top-level navigations from everywhere, otherwise from the same site.
    Lax,
    /// From the same site.
    Strict,
    /// From everywhere.
    None,
}

/// Metrics for Prometheus.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Whether `/metrics` is served, over plain http on an address of its own.
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

/// The database's connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// The size of a node's connection pool: 1 to 1000. (SQLite: for reads; one more connection
    /// writes.)
    pub pool_size: u32,
    /// The statement timeout, and twice the lock timeout: 100ms to 10s. Above 2s, clients wait
    /// longer than 3s for the 503 of an unavailable database.
    #[serde(with = "serde_formats::duration")]
    pub statement_timeout: Duration,
    /// Whether pending migrations are applied at a start.
    pub migrate: bool,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { pool_size: 8, statement_timeout: Duration::from_secs(2), migrate: true }
    }
}
