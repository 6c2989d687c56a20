//! The limits of clients that follow from the settings.

use std::time::Duration;

use super::InvalidClient;
use crate::tokens::TokenSizeLimit;

/// The shortest lifetime of a client's access tokens, as for the setting.
pub const MIN_TOKEN_LIFETIME: Duration = Duration::from_secs(60);

/// The limits of clients that follow from the settings.
#[derive(Clone, Debug)]
pub struct ClientPolicy {
    /// The longest access token.
    pub size_limit: TokenSizeLimit,
    /// The longest lifetime of an access token, `tokens.lifetime`: revocations are kept that long.
    pub max_token_lifetime: Duration,
}

impl ClientPolicy {
    pub(super) fn check_lifetime(&self, lifetime: Option<Duration>) -> Result<(), InvalidClient> {
        let bounds = MIN_TOKEN_LIFETIME..=self.max_token_lifetime;
        if lifetime.is_none_or(|it| bounds.contains(&it)) {
            return Ok(());
        }
        Err(InvalidClient::TokenLifetime(self.max_token_lifetime.as_secs()))
    }

    pub(super) fn check_window(&self, window: Option<Duration>) -> Result<(), InvalidClient> {
        if window.is_none_or(|it| it <= self.max_token_lifetime) {
            return Ok(());
        }
        Err(InvalidClient::RetryWindow(self.max_token_lifetime.as_secs()))
    }
}
