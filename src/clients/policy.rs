//! The limits of clients that follow from the settings.

use std::time::Duration;

use super::{ClientSettings, InvalidClient};
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
    /// Checks the settings of a public client.
    pub(super) fn check(&self, settings: &ClientSettings) -> Result<(), InvalidClient> {
        let bounds = MIN_TOKEN_LIFETIME..=self.max_token_lifetime;
        if settings.token_lifetime.is_some_and(|it| !bounds.contains(&it)) {
            return Err(InvalidClient::TokenLifetime(self.max_token_lifetime.as_secs()));
        }
        // A retry window may not be longer than the lifetime of an access token, as for
        // `sessions.retry_window` and `tokens.lifetime`.
        let max_window = settings.token_lifetime.unwrap_or(self.max_token_lifetime);
        if settings.retry_window.is_some_and(|it| it > max_window) {
            return Err(InvalidClient::RetryWindow(max_window.as_secs()));
        }
        Ok(())
    }
}
