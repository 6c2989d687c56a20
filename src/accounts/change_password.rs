//! Password change by the account's owner.

use super::mail_proof::notice_context;
use super::owner_proof::{FactorRule, OwnerProof, ProvenOwner};
use super::queries;
use super::second_factor::UsedFactor;
use super::{Accounts, LogInError};
use crate::audit::{self, Event, EventKind};
use crate::clients;
use crate::clock::Timestamp;
use crate::mail::messages::MessageKind;
use crate::passwords::{Password, PasswordHash, UnacceptablePassword};
use crate::sessions::authenticate::AuthenticatedSession;
use crate::sessions::rotation::EndReason;
use crate::sessions::{AuthMethods, Authentication, Device, EndCause, Grant, Subject, Tokens};

/// Why a password change failed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The new one is not acceptable.
    #[error(transparent)]
    New(#[from] UnacceptablePassword),
    /// The current password was not accepted.
    #[error(transparent)]
    CurrentPassword(#[from] LogInError),
}

impl Accounts {
    /// Changes the password, ends every session of the user, and starts a new one of the same
    /// client.
    ///
    /// # Errors
    /// [`ChangeError`]: the old password stays valid and no session has ended.
    pub async fn change_password(
        &self,
        access: AuthenticatedSession,
        proof: &OwnerProof,
        new: &str,
    ) -> Result<Tokens, ChangeError> {
        let new = Password::parse(new).map_err(UnacceptablePassword::from)?;
        let (found, _) = self.credentials_of(access.user, proof.network()).await?;
        let checked = self.hasher.check(self.policy, new.clone(), vec![found.email]).await;
        checked.map_err(LogInError::from)?.map_err(UnacceptablePassword::from)?;
        let change = async |proven: ProvenOwner| {
            let hash = self.hasher.hash(new.clone()).await.map_err(LogInError::from)?;
            let stored =
                self.store_new_password(access, proven, hash, proof.device.clone()).await?;
            let Some(grant) = stored else { return Ok(None) };
            Ok::<_, ChangeError>(Some(self.sessions.issue(&grant).map_err(LogInError::from)?))
        };
        self.with_proof(access.into(), proof, FactorRule::Required, change).await
    }

    /// Stores a password, ends every session and starts one; `None` when the account has changed
    /// since it was read.
    async fn store_new_password(
        &self,
        access: AuthenticatedSession,
        proven: ProvenOwner,
        hash: PasswordHash,
        device: Device,
    ) -> Result<Option<Grant>, LogInError> {
        let this = self.clone();
        let granted = self.db.write(move |tx| {
            let now = this.clock.now();
            let found = &proven.found;
            // Before anything changes: the new session needs the settings of its client.
            let (client_id, before) =
                this.sessions.client_and_authentication_of(tx, access.session)?;
            let client = match clients::settings_of(tx.connection(), &client_id)? {
                Ok(client) => client,
                Err(unknown) => return Ok(Some(Err(unknown))),
            };
            if !proven.use_factor(&this, tx, &device, now)?
                || !queries::set_password(tx.connection(), found, &hash, now)?
            {
                return Ok(None);
            }
            let address = Some(device.address.as_deref().unwrap_or_default());
            let changed = Event::new(EventKind::PasswordChanged).with_user(found.id);
            audit::record(tx, changed.with_address(address), now)?;
            let context = notice_context(&device);
            this.mail.notify(tx, found.id, MessageKind::PasswordChanged, context, now)?;
            this.sessions.record_password_change(tx, found.id, access.session, now)?;
            let cause = EndCause { reason: EndReason::PasswordChanged, address };
            this.sessions.end_all(tx, found.id, None, cause, now)?;
            let subject = new_subject(&proven, before, now);
            let grant = this.sessions.start(tx, &subject, &client_id, client, &device, now)?;
            Ok(Some(Ok(grant)))
        });
        Ok(granted.await?.transpose()?)
    }
}

/// The subject of the new session: with the proof of this request, or the recent one of the session
/// before.
fn new_subject(proven: &ProvenOwner, before: Option<Authentication>, now: Timestamp) -> Subject {
    let ProvenOwner { found, used } = proven;
    let methods = used.as_ref().map_or(AuthMethods::PASSWORD, UsedFactor::methods);
    let subject = found.subject(now, methods);
    match before {
        Some(before) if used.is_none() && found.has_factor() => subject.authenticated(before),
        _ => subject,
    }
}
