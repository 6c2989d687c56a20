//! Setting up and removing an authenticator app, and the recovery codes.

use std::time::Duration;

use diesel::QueryResult;

use super::mail_proof::notice_context;
use super::owner_proof::{FactorRule, Owner, OwnerProof, ProvenOwner};
use super::queries::factors::NewFactor;
use super::queries::{self, Credentials};
use super::{Accounts, LogInError};
use crate::audit::{self, Event, EventKind};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError, Tx};
use crate::factors::keys::SealContext;
use crate::factors::login_tokens::ENROL_LIFETIME;
use crate::factors::totp::{Provisioning, TotpSecret};
use crate::factors::{FactorKind, recovery_codes};
use crate::mail::messages::MessageKind;
use crate::secret::Secret;
use crate::sessions::{AuthMethods, Device};

/// How long a new secret may wait for its confirmation.
const PENDING_FOR: Duration = ENROL_LIFETIME;

/// The part of [`PENDING_FOR`] that an attempt to confirm costs, so at most five are possible.
const CONFIRMATION_COST: Duration = Duration::from_secs(2 * 60);

/// Why an authenticator app was not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmTotpError {
    /// The code is not one of the secret.
    #[error("the code is wrong")]
    WrongCode,
    /// No secret waits to be confirmed by this session, or its time is over.
    #[error("no secret waits to be confirmed")]
    NothingPending,
    /// The request was rejected.
    #[error(transparent)]
    Rejected(#[from] LogInError),
}

impl From<StoreError> for ConfirmTotpError {
    fn from(error: StoreError) -> Self {
        Self::Rejected(error.into())
    }
}

/// A change of an account's factors, as the audit trail and the owner's mail name it.
#[derive(Clone, Copy)]
struct FactorChange {
    event: EventKind,
    message: MessageKind,
}

impl Accounts {
    /// Makes a secret for an authenticator app. It is not a factor until a code confirms it.
    ///
    /// While mail is on, the address must be proven: otherwise somebody who registers another
    /// person's address could set up a factor, and a reset would not let its owner in.
    ///
    /// # Errors
    /// [`LogInError`]: the account is unchanged.
    pub async fn begin_totp(
        &self,
        owner: Owner,
        proof: &OwnerProof,
    ) -> Result<Provisioning, LogInError> {
        let begin = async |proven: ProvenOwner| {
            if self.mail.is_on() && proven.found.email_verified_at.is_none() {
                return Err(LogInError::EmailUnverified);
            }
            let secret = TotpSecret::generate();
            let (this, email) = (self.clone(), proven.found.email.clone());
            let sealed = self.factors.keys.seal(&secret, pending_context(owner, &proven.found));
            let device = proof.device.clone();
            let stored = self.db.write(move |tx| {
                let now = this.clock.now();
                if !proven.use_factor(&this, tx, &device, now)? {
                    return Ok(false);
                }
                queries::factors::set_pending(tx.connection(), &proven.found, &sealed, now)
            });
            let shown = || secret.provisioning(&self.factors.service, &email);
            Ok::<_, LogInError>(stored.await?.then(shown))
        };
        self.with_proof(owner, proof, FactorRule::Required, begin).await
    }

    /// Makes the secret the account's factor, replacing the one before, and returns new recovery
    /// codes.
    ///
    /// # Errors
    /// [`ConfirmTotpError`]: the account's factors are unchanged.
    pub async fn confirm_totp(
        &self,
        owner: Owner,
        code: &str,
        device: Device,
    ) -> Result<Vec<Secret<String>>, ConfirmTotpError> {
        let user = owner.user();
        let (found, pending) = self
            .db
            .read(move |c| {
                Ok((queries::credentials_by_id(c, user)?, queries::factors::pending(c, user)?))
            })
            .await?;
        let found = found.ok_or(LogInError::Changing)?;
        owner.ensure_valid_for(&found)?;
        let is_recent = |at: Timestamp| self.clock.now().since(at) < PENDING_FOR;
        let (pending, _) =
            pending.filter(|(_, at)| is_recent(*at)).ok_or(ConfirmTotpError::NothingPending)?;
        // One of another session, or from before a change of the credentials, does not open.
        let opened = self.factors.keys.open(&pending, pending_context(owner, &found));
        let secret = opened.map_err(|_| ConfirmTotpError::NothingPending)?;
        // A thief of the access token alone must not guess the code of the owner's secret. These
        // guesses have a limit of their own: those at the login must not keep the owner from a new
        // app.
        let (reserved, made_after) = (pending.clone(), self.clock.now().minus(PENDING_FOR));
        let reserve = move |tx: &mut Tx<'_>| {
            let cost = CONFIRMATION_COST;
            queries::factors::reserve_confirmation(
                tx.connection(),
                user,
                &reserved,
                cost,
                made_after,
            )
        };
        if !self.db.write(reserve).await? {
            return Err(ConfirmTotpError::NothingPending);
        }
        let Some(step) = secret.matching_step(code, self.clock.now()) else {
            let network = device.address.as_deref().unwrap_or_default();
            self.audit.record_failure(EventKind::SecondFactorFailed, Some(user), network);
            return Err(ConfirmTotpError::WrongCode);
        };
        let codes = recovery_codes::generate();
        let context = SealContext::Confirmed { user: user.uuid() };
        let sealed = self.factors.keys.seal(&secret, context);
        let new = NewFactor { pending, sealed, step, recovery_codes: codes.digests };
        let this = self.clone();
        let confirm = move |tx: &mut Tx<'_>| {
            tx.in_savepoint(|tx| this.confirm_in_tx(tx, owner, &found, &new, &device))
        };
        match self.db.write(confirm).await? {
            Some(()) => Ok(codes.texts),
            None => Err(LogInError::Changing.into()),
        }
    }

    fn confirm_in_tx(
        &self,
        tx: &mut Tx<'_>,
        owner: Owner,
        found: &Credentials,
        new: &NewFactor,
        device: &Device,
    ) -> QueryResult<Option<()>> {
        let now = self.clock.now();
        if !queries::factors::confirm(tx.connection(), found, new)? {
            return Ok(None);
        }
        let change =
            FactorChange { event: EventKind::FactorAdded, message: MessageKind::FactorAdded };
        self.record_factor_change(tx, found, change, device, now)?;
        let Some(session) = owner.session() else { return Ok(Some(())) };
        // The code counts as a proof of its session, which may have ended meanwhile.
        let proven = self.sessions.reauthenticate(tx, found.id, session, AuthMethods::TOTP, now)?;
        Ok(proven.map(drop))
    }

    /// Removes the authenticator app and the recovery codes.
    ///
    /// # Errors
    /// [`LogInError`]: the account's factors are unchanged.
    pub async fn remove_totp(&self, owner: Owner, proof: &OwnerProof) -> Result<(), LogInError> {
        let remove = async |proven: ProvenOwner| {
            if !proven.found.has_factor() {
                return Err(LogInError::NoFactor);
            }
            let (this, device) = (self.clone(), proof.device.clone());
            let removed = self.db.write(move |tx| {
                let now = this.clock.now();
                if !proven.use_factor(&this, tx, &device, now)?
                    || !queries::factors::remove(tx.connection(), &proven.found)?
                {
                    return Ok(false);
                }
                let change = FactorChange {
                    event: EventKind::FactorRemoved,
                    message: MessageKind::FactorRemoved,
                };
                this.record_factor_change(tx, &proven.found, change, &device, now)?;
                Ok(true)
            });
            Ok(removed.await?.then_some(()))
        };
        self.with_proof(owner, proof, FactorRule::Required, remove).await
    }

    /// Replaces the recovery codes.
    ///
    /// # Errors
    /// [`LogInError`]: the old codes stay valid.
    pub async fn replace_recovery_codes(
        &self,
        owner: Owner,
        proof: &OwnerProof,
    ) -> Result<Vec<Secret<String>>, LogInError> {
        let replace = async |proven: ProvenOwner| {
            if !proven.found.has_factor() {
                return Err(LogInError::NoFactor);
            }
            let codes = recovery_codes::generate();
            let (this, device, digests) = (self.clone(), proof.device.clone(), codes.digests);
            let replaced = self.db.write(move |tx| {
                let now = this.clock.now();
                let found = &proven.found;
                if !proven.use_factor(&this, tx, &device, now)?
                    || !queries::factors::replace_recovery_codes(tx.connection(), found, &digests)?
                {
                    return Ok(false);
                }
                let change = FactorChange {
                    event: EventKind::RecoveryCodesReplaced,
                    message: MessageKind::RecoveryCodesReplaced,
                };
                this.record_factor_change(tx, found, change, &device, now)?;
                Ok(true)
            });
            Ok(replaced.await?.then_some(codes.texts))
        };
        self.with_proof(owner, proof, FactorRule::Required, replace).await
    }

    fn record_factor_change(
        &self,
        tx: &mut Tx<'_>,
        found: &Credentials,
        change: FactorChange,
        device: &Device,
        now: Timestamp,
    ) -> QueryResult<()> {
        let event = Event::new(change.event).with_user(found.id);
        let event = event.with_address(device.address.as_deref());
        audit::record(tx, event.with_detail(FactorKind::Totp.as_str()), now)?;
        self.mail.notify(tx, found.id, change.message, notice_context(device), now)
    }
}

fn pending_context(owner: Owner, found: &Credentials) -> SealContext {
    SealContext::Pending {
        user: found.id.uuid(),
        version: found.version,
        session: owner.session().map(Id::uuid),
    }
}
