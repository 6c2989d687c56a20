//! The second request of a login: the second factor after the password.

use super::log_in::ProvenLogin;
use super::queries::{self, Credentials};
use super::second_factor::FactorCheck;
use super::{Accounts, LogInError, MAX_COMPARISONS};
use crate::clients::{self, ClientSettings, UnknownClient};
use crate::database::{Id, StoreError};
use crate::factors::SecondFactor;
use crate::factors::login_tokens::FactorToken;
use crate::sessions::{Device, IssueError, ReplacedSessions, Tokens};

/// The second request of a login.
#[derive(Debug)]
pub struct FactorAttempt {
    /// The token of the first one.
    pub token: FactorToken,
    /// The second factor as received.
    pub second_factor: SecondFactor,
    /// The sessions that the new one replaces.
    pub replaces: ReplacedSessions,
    /// The device data stored with the new session.
    pub device: Device,
}

impl Accounts {
    /// Starts a session if the second factor is right and the account is unchanged since the
    /// password was verified.
    ///
    /// # Errors
    /// [`LogInError`]: no session was started.
    pub async fn log_in_with_factor(&self, attempt: FactorAttempt) -> Result<Tokens, LogInError> {
        let result = self.log_in_with_factor_uncounted(attempt).await;
        self.count_login(&result);
        result
    }

    async fn log_in_with_factor_uncounted(
        &self,
        attempt: FactorAttempt,
    ) -> Result<Tokens, LogInError> {
        self.sessions.ensure_clock().map_err(IssueError::from)?;
        let FactorAttempt { token, second_factor, replaces, device } = attempt;
        let mut check = FactorCheck::new(&second_factor, &device);
        for _ in 0..MAX_COMPARISONS {
            let (client, found) = self.read_for_factor(&token).await?;
            let is_unchanged = |found: &Credentials| {
                found.version == token.version && found.disabled_at.is_none() && found.has_factor()
            };
            let found = found.filter(is_unchanged).ok_or(LogInError::InvalidFactorToken)?;
            let client = client?;
            let used = Some(check.compare(self, &found).await?);
            // The first session releases the password's reservation.
            let is_first = found.last_login_at.is_none_or(|at| at < token.issued_at);
            let login = ProvenLogin {
                found,
                used,
                upgraded: None,
                client,
                client_id: token.client_id.clone(),
                replaces: replaces.clone(),
                device: Device { label: token.label.clone(), ..device.clone() },
                is_unknown_source: token.is_unknown_source,
            };
            if let Some(grant) = self.start_session(login).await? {
                if is_first {
                    self.throttle.release(&token.shares);
                }
                return Ok(self.sessions.issue(&grant)?);
            }
        }
        Err(LogInError::Changing)
    }

    async fn read_for_factor(
        &self,
        token: &FactorToken,
    ) -> Result<(Result<ClientSettings, UnknownClient>, Option<Credentials>), StoreError> {
        let (user, client_id) = (Id::from(token.user), token.client_id.clone());
        self.db
            .read(move |c| {
                Ok((clients::settings_of(c, &client_id)?, queries::credentials_by_id(c, user)?))
            })
            .await
    }
}
