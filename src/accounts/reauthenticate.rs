//! Proving the password and a second factor again in a session, for services that want a recent
//! proof.

use super::owner_proof::{FactorRule, OwnerProof, ProvenOwner};
use super::second_factor::UsedFactor;
use super::{Accounts, LogInError, queries};
use crate::sessions::authenticate::AuthenticatedSession;
use crate::sessions::{AccessToken, AuthMethods, IssueError};

impl Accounts {
    /// Replaces the session's authentication by this proof, and returns an access token that says
    /// so. The refresh token stays.
    ///
    /// # Errors
    /// [`LogInError`]: the session's authentication is unchanged.
    pub async fn reauthenticate(
        &self,
        access: AuthenticatedSession,
        proof: &OwnerProof,
    ) -> Result<AccessToken, LogInError> {
        self.sessions.ensure_clock().map_err(IssueError::from)?;
        let reauthenticate = async |proven: ProvenOwner| {
            let (this, device) = (self.clone(), proof.device.clone());
            let granted = self.db.write(move |tx| {
                let now = this.clock.now();
                let ProvenOwner { found, used } = &proven;
                let methods = used.as_ref().map_or(AuthMethods::PASSWORD, UsedFactor::methods);
                let current = queries::credentials_by_id(tx.connection(), found.id)?;
                if current.is_none_or(|current| current.version != found.version) {
                    return Ok(None);
                }
                // Two statements: without a live session the code is not used up.
                tx.in_savepoint(|tx| {
                    if !proven.use_factor(&this, tx, &device, now)? {
                        return Ok(None);
                    }
                    this.sessions.reauthenticate(tx, access.user, access.session, methods, now)
                })
            });
            let Some(grant) = granted.await? else { return Ok(None) };
            Ok::<_, LogInError>(Some(self.sessions.issue_access_token(&grant)?))
        };
        self.with_proof(access.into(), proof, FactorRule::Optional, reauthenticate).await
    }
}
