//! Authentication of confidential clients by their secrets.

use super::queries::{self, Credentials};
use super::secrets::{digest, is_secret};
use super::{Clients, split};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError};
use crate::secret::equal;

/// An authenticated confidential client.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    /// Its id.
    pub id: Id,
    /// The scopes that its own tokens may have.
    pub scopes: Vec<String>,
    /// When its row was read: the lifetime of its tokens starts here.
    pub seen_at: Timestamp,
}

/// Why client authentication failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// Unknown id, wrong secret, or a client without a secret; the answer does not say which.
    #[error("the client's id or secret is wrong")]
    Wrong,
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Clients {
    /// Checks the id and secret of a confidential client.
    ///
    /// # Errors
    /// [`AuthenticationError`]: the client is not authenticated.
    pub async fn authenticate(
        &self,
        id: &str,
        secret: &str,
    ) -> Result<AuthenticatedClient, AuthenticationError> {
        // A malformed id needs no lookup, and its sender learns nothing from the response time.
        let id = Id::parse(id).ok_or(AuthenticationError::Wrong)?;
        if !is_secret(secret) {
            return Err(AuthenticationError::Wrong);
        }
        let (clock, shown) = (self.clock.clone(), digest(secret));
        let (seen_at, found) = self
            .db
            .read(move |connection| {
                let seen_at = clock.now();
                Ok((seen_at, queries::credentials(connection, id)?))
            })
            .await?;
        // A public client has no hash: for it, as for an unknown id, a dummy hash is compared.
        let Credentials { secret_hash, old_secret_hash, old_secret_until, scopes } =
            found.unwrap_or_default();
        let dummy = || vec![0; shown.len()];
        let is_present = equal(&secret_hash.unwrap_or_else(dummy), &shown);
        let is_old = equal(&old_secret_hash.unwrap_or_else(dummy), &shown);
        if is_present || is_old && old_secret_until.is_some_and(|until| seen_at < until) {
            Ok(AuthenticatedClient { id, scopes: split(&scopes).collect(), seen_at })
        } else {
            Err(AuthenticationError::Wrong)
        }
    }
}
