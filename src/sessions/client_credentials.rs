//! The client credentials grant, and the end of a removed client's sessions.

use serde::Serialize;

use super::rotation::EndReason;
use super::termination::end_some;
use super::{IssueError, Sessions, queries};
use crate::clients::{AuthenticatedClient, ClientChangeError, Clients};
use crate::database::{ExpectedVersion, Id};
use crate::revocations::Revocations;
use crate::tokens::Claims;

/// Sessions that end in one unit of work when their client is removed.
const SESSIONS_PER_UNIT: usize = 200;

/// The response to a client credentials grant (RFC 6749 4.4.3): without a refresh token, because
/// the client can repeat the request.
#[derive(Serialize)]
pub struct ClientToken {
    token_type: &'static str,
    access_token: String,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// Why a client got no token.
#[derive(Debug, thiserror::Error)]
pub enum ClientGrantError {
    /// The requested scope exceeds the client's.
    #[error("the client may not have this scope")]
    Scope,
    /// The token could not be signed.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl Sessions {
    /// Issues an access token for the client itself, with the requested scope or else all of its
    /// scopes.
    ///
    /// # Errors
    /// [`ClientGrantError`].
    pub fn issue_to_client(
        &self,
        client: &AuthenticatedClient,
        scope: Option<&str>,
    ) -> Result<ClientToken, ClientGrantError> {
        self.ensure_clock().map_err(IssueError::from)?;
        let scope = match scope {
            None => client.scopes.join(" "),
            Some(asked) if asked.split(' ').all(|one| client.scopes.iter().any(|s| s == one)) => {
                let mut granted: Vec<&str> = Vec::new();
                for one in asked.split(' ') {
                    // Each scope once, even if it was requested several times.
                    if !granted.contains(&one) {
                        granted.push(one);
                    }
                }
                granted.join(" ")
            }
            Some(_) => return Err(ClientGrantError::Scope),
        };
        let scope = (!scope.is_empty()).then_some(scope);
        let lifetime = self.policy.token_lifetime;
        // RFC 9068 2.2: without a resource owner `sub` is the client's id.
        let access_token = self.sign(&Claims {
            scope: scope.clone(),
            ..self.claims(client.id, client.id.to_string(), client.seen_at, lifetime)
        })?;
        tracing::info!(event = "client_token_issued", client = %client.id);
        Ok(ClientToken {
            token_type: "Bearer",
            access_token,
            expires_in: lifetime.as_secs(),
            scope,
        })
    }
}

/// Removes a client: after the first unit of work its sessions cannot be refreshed and its tokens
/// are rejected. Then its sessions end, batch by batch; if that is interrupted, another call
/// continues. Returns the number of ended sessions.
///
/// # Errors
/// [`ClientChangeError`]: unless it is the database's, nothing has changed.
pub async fn remove_client(
    clients: &Clients,
    revocations: &Revocations,
    client: Id,
    expected: ExpectedVersion,
) -> Result<usize, ClientChangeError> {
    let (db, clock) = (clients.database(), clients.clock());
    let (this, list) = (clients.clone(), revocations.clone());
    let removed = db
        .write(move |tx| {
            let removed = this.remove_in_tx(tx, client, &expected)?;
            if removed.is_ok() {
                list.revoke_client(tx, client, this.clock().now())?;
            }
            Ok(removed)
        })
        .await?;
    let is_removed = match removed {
        Ok(()) => true,
        // Another call may have been interrupted.
        Err(ClientChangeError::NoSuchClient) => false,
        Err(refused) => return Err(refused),
    };
    let id = client.to_string();
    let sessions = db.read(move |c| queries::not_revoked_of_client(c, &id)).await?;
    let mut ended = 0;
    for batch in sessions.chunks(SESSIONS_PER_UNIT) {
        let (batch, clock, list) = (batch.to_vec(), clock.clone(), revocations.clone());
        ended += db
            .write(move |tx| {
                let cause = EndReason::ClientRemoved.into();
                end_some(&list, tx, &batch, cause, clock.now())
            })
            .await?;
    }
    if is_removed || ended > 0 { Ok(ended) } else { Err(ClientChangeError::NoSuchClient) }
}
