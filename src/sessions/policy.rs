//! The settings of sessions and their tokens.

use std::time::Duration;

use crate::clients::ClientSettings;
use crate::tokens::Expected;

/// The lifetimes of sessions and tokens. Each is a setting of `[sessions]` or `[tokens]`.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    /// The idle timeout of a session.
    pub idle_timeout: Duration,
    /// The absolute timeout of a session.
    pub absolute_timeout: Duration,
    /// How long after a rotation the previous token is accepted without proof; zero for never.
    pub retry_window: Duration,
    /// The maximum number of a user's live sessions.
    pub max_per_user: u32,
    /// How long an ended session is stored.
    pub ended_retention: Duration,
    /// How long an address counts as known after a session was used from it.
    pub known_address_lifetime: Duration,
    /// `iss` and `aud` of access tokens, and the leeway of their verification here.
    pub expected: Expected,
    /// The lifetime of an access token.
    pub token_lifetime: Duration,
    /// The length from which on an access token is counted as too long, in bytes.
    pub max_token_bytes: usize,
    /// Whether every token says when and how its user was authenticated.
    pub auth_claims: bool,
}

impl SessionPolicy {
    /// The lifetime of a client's access tokens. It may shorten the setting, but not extend it: a
    /// blocklist row is kept for the setting's lifetime.
    pub(super) fn lifetime(&self, client_settings: ClientSettings) -> Duration {
        client_settings
            .token_lifetime
            .map_or(self.token_lifetime, |own| own.min(self.token_lifetime))
    }

    /// The retry window of a client's sessions, at most the lifetime of its access tokens.
    pub(super) fn window(&self, client_settings: ClientSettings) -> Duration {
        client_settings
            .retry_window
            .unwrap_or(self.retry_window)
            .min(self.lifetime(client_settings))
    }
}
