//! Closing an account: its sessions end, personal data is erased, and later its row is deleted.

use super::queries::{self, Credentials};
use super::{Accounts, Email, LogInError, MAX_COMPARISONS};
use crate::audit::{self, Event, EventKind};
use crate::database::StoreError;
use crate::mail::requests;
use crate::passwords::Password;
use crate::sessions::authenticate::AuthenticatedSession;
use crate::sessions::rotation::EndReason;

impl Accounts {
    /// Closes the account at its owner's request from `address`: its sessions end, and personal
    /// data is erased.
    ///
    /// # Errors
    /// [`LogInError`]: the account stays open.
    pub async fn close(
        &self,
        access: AuthenticatedSession,
        password: &str,
        address: &str,
    ) -> Result<(), LogInError> {
        let (mut found, known) = self.credentials_of(access, address).await?;
        let mut reservation = self.reserve_in_session(access, &found, known, address)?;
        let password = Password::parse(password).ok();
        for _ in 0..MAX_COMPARISONS {
            let right =
                self.verify_own_password(found, password.clone(), reservation, address).await?;
            if self.close_if_unchanged(right.found).await? {
                return Ok(());
            }
            reservation = right.reservation;
            (found, _) = self.credentials_of(access, address).await?;
        }
        Err(LogInError::Changing)
    }

    /// Closes an account; false when it has changed since it was read.
    async fn close_if_unchanged(&self, found: Credentials) -> Result<bool, StoreError> {
        let this = self.clone();
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                let closed = queries::close(tx.connection(), &found, now)?;
                if closed {
                    audit::record(
                        tx,
                        Event::new(EventKind::AccountClosed).with_user(found.id),
                        now,
                    )?;
                    let cause = EndReason::AccountClosed.into();
                    this.sessions.end_all(tx, found.id, None, cause, now)?;
                    this.sessions.erase_devices(tx, found.id)?;
                    // Requests have the canonical key, the account may have the former one.
                    let key = Email::key_of(&found.email);
                    requests::delete_of_account(tx, found.id, Some(&key))?;
                    this.audit.erase_addresses(tx, found.id)?;
                }
                Ok(closed)
            })
            .await
    }

    /// Deletes a batch of closed accounts whose sessions are all deleted. Returns whether there may
    /// be more.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be deleted.
    pub async fn purge(&self) -> Result<bool, StoreError> {
        let deleted = self.db.write(|tx| queries::delete_closed(tx.connection())).await?;
        Ok(deleted > 0)
    }
}
