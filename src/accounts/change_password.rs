//! Password change by the account's owner.

use super::mail_proof::notice_context;
use super::queries::{self, Credentials};
use super::{Accounts, LogInError, MAX_COMPARISONS};
use crate::audit::{self, Event, EventKind};
use crate::clients;
use crate::mail::messages::MessageKind;
use crate::passwords::{Password, PasswordHash, UnacceptablePassword};
use crate::sessions::authenticate::AuthenticatedSession;
use crate::sessions::rotation::EndReason;
use crate::sessions::{Device, EndCause, Grant, Tokens};

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
        present: &str,
        new: &str,
        device: Device,
    ) -> Result<Tokens, ChangeError> {
        let new = Password::parse(new).map_err(UnacceptablePassword::from)?;
        let address = device.address.clone().unwrap_or_default();
        let (mut found, known) = self.credentials_of(access, &address).await?;
        let personal = vec![found.email.clone()];
        let checked = self.hasher.check(self.policy, new.clone(), personal).await;
        checked.map_err(LogInError::from)?.map_err(UnacceptablePassword::from)?;
        let mut reservation = self.reserve_in_session(access, &found, known, &address)?;
        let present = Password::parse(present).ok();
        for _ in 0..MAX_COMPARISONS {
            let right =
                self.verify_own_password(found, present.clone(), reservation, &address).await?;
            let hash = self.hasher.hash(new.clone()).await.map_err(LogInError::from)?;
            if let Some(grant) =
                self.store_new_password(access, right.found, hash, device.clone()).await?
            {
                return Ok(self.sessions.issue(&grant).map_err(LogInError::from)?);
            }
            reservation = right.reservation;
            (found, _) = self.credentials_of(access, &address).await?;
        }
        Err(LogInError::Changing.into())
    }

    /// Stores a password, ends every session and starts one; `None` when the account has changed
    /// since it was read.
    async fn store_new_password(
        &self,
        access: AuthenticatedSession,
        found: Credentials,
        hash: PasswordHash,
        device: Device,
    ) -> Result<Option<Grant>, LogInError> {
        let this = self.clone();
        let granted = self.db.write(move |tx| {
            let now = this.clock.now();
            if !queries::set_password(tx.connection(), &found, &hash, now)? {
                return Ok(None);
            }
            let address = Some(device.address.as_deref().unwrap_or_default());
            let changed = Event::new(EventKind::PasswordChanged).with_user(found.id);
            audit::record(tx, changed.with_address(address), now)?;
            let context = notice_context(&device);
            this.mail.notify(tx, found.id, MessageKind::PasswordChanged, context, now)?;
            let client_id = this.sessions.client_of(tx, access.session)?;
            let client = match clients::settings_of(tx.connection(), &client_id)? {
                Ok(client) => client,
                Err(unknown) => return Ok(Some(Err(unknown))),
            };
            this.sessions.record_password_change(tx, found.id, access.session, now)?;
            let cause = EndCause { reason: EndReason::PasswordChanged, address };
            this.sessions.end_all(tx, found.id, None, cause, now)?;
            let grant =
                this.sessions.start(tx, &found.subject(), &client_id, client, &device, now)?;
            Ok(Some(Ok(grant)))
        });
        Ok(granted.await?.transpose()?)
    }
}
