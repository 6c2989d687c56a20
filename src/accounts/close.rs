//! Closing an account: its sessions end, personal data is erased, and later its row is deleted.

use diesel::QueryResult;

use super::owner_proof::{FactorRule, OwnerProof, ProvenOwner};
use super::{Accounts, Email, LogInError, queries};
use crate::audit::{self, Event, EventKind};
use crate::database::{Id, StoreError, Tx};
use crate::mail::requests;
use crate::sessions::authenticate::AuthenticatedSession;
use crate::sessions::rotation::EndReason;
use crate::sessions::{self, Device};

impl Accounts {
    /// Closes the account at its owner's request: its sessions end, and personal data is erased.
    ///
    /// # Errors
    /// [`LogInError`]: the account stays open.
    pub async fn close(
        &self,
        access: AuthenticatedSession,
        proof: &OwnerProof,
    ) -> Result<(), LogInError> {
        let close = async |proven: ProvenOwner| {
            let closed = self.close_if_unchanged(proven, proof.device.clone()).await?;
            Ok::<_, LogInError>(closed.then_some(()))
        };
        self.with_proof(access.into(), proof, FactorRule::Required, close).await
    }

    /// Closes an account; false when it has changed since it was read.
    async fn close_if_unchanged(
        &self,
        proven: ProvenOwner,
        device: Device,
    ) -> Result<bool, StoreError> {
        let this = self.clone();
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                let found = &proven.found;
                let closed = proven.use_factor(&this, tx, &device, now)?
                    && queries::close(tx.connection(), found, now)?;
                if closed {
                    audit::record(
                        tx,
                        Event::new(EventKind::AccountClosed).with_user(found.id),
                        now,
                    )?;
                    let cause = EndReason::AccountClosed.into();
                    this.sessions.end_all(tx, found.id, None, cause, now)?;
                    erase_traces(tx, found.id, &found.email)?;
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

/// Erases what other tables have about the owner of a closed account with this address: devices,
/// client addresses, and requests of mail.
pub(super) fn erase_traces(tx: &mut Tx<'_>, user: Id, email: &str) -> QueryResult<()> {
    sessions::erase_devices(tx, user)?;
    audit::erase_addresses(tx, user)?;
    // Requests have the canonical key, the account may have the former one.
    requests::delete_of_account(tx, user, Some(&Email::key_of(email)))
}
