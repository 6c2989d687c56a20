//! The section `[tokens]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DAY, MINUTE};
use crate::config::serde_formats;
use crate::tokens::Algorithm;

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
    /// The longest access token, in bytes: 512 to 4000. Roles, custom claims and scopes that would
    /// make a longer one are refused when they are set. Proxies and browsers limit headers and
    /// cookies.
    pub max_bytes: usize,
    /// Whether every access token of a session has `auth_time` and `amr`. Otherwise only those have
    /// them whose user has proven a second factor, or the password again.
    pub auth_claims: bool,
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Es256,
            lifetime: Duration::from_secs(10 * MINUTE),
            key_lifetime: Duration::from_secs(90 * DAY),
            jwks_max_age: Duration::from_secs(10 * MINUTE),
            verifier_leeway: Duration::from_secs(30),
            max_bytes: 1024,
            auth_claims: false,
        }
    }
}
