//! The proof that a change of the account by its owner needs: the password and, if the account has
//! a second factor, that too. A password alone never adds a way in.

use diesel::QueryResult;

use super::password_check::VerifiedPassword;
use super::queries::Credentials;
use super::second_factor::{FactorCheck, UsedFactor};
use super::{Accounts, LogInError, MAX_COMPARISONS};
use crate::clock::Timestamp;
use crate::database::{Id, Tx};
use crate::factors::SecondFactor;
use crate::factors::login_tokens::EnrolToken;
use crate::passwords::Password;
use crate::secret::Secret;
use crate::sessions::Device;
use crate::sessions::authenticate::AuthenticatedSession;

/// The owner of an account, by the token of a request.
#[derive(Clone, Copy, Debug)]
pub enum Owner {
    /// The holder of an access token.
    Session(AuthenticatedSession),
    /// The holder of a token for setting up a second factor before the first session.
    Enrolment(EnrolToken),
}

impl Owner {
    pub(super) fn user(self) -> Id {
        match self {
            Self::Session(access) => access.user,
            Self::Enrolment(token) => token.user.into(),
        }
    }

    pub(super) const fn session(self) -> Option<Id> {
        match self {
            Self::Session(access) => Some(access.session),
            Self::Enrolment(_) => None,
        }
    }

    const fn factor_proven_at(self) -> Option<Timestamp> {
        match self {
            Self::Session(access) => access.factor_proven_at,
            Self::Enrolment(_) => None,
        }
    }

    /// Checks that the token is valid for these credentials: one for an enrolment ends with any
    /// change of them. A session ends separately.
    pub(super) const fn ensure_valid_for(self, found: &Credentials) -> Result<(), LogInError> {
        match self {
            Self::Enrolment(token) if token.version != found.version => {
                Err(LogInError::InvalidEnrolToken)
            }
            Self::Session(_) | Self::Enrolment(_) => Ok(()),
        }
    }
}

impl From<AuthenticatedSession> for Owner {
    fn from(access: AuthenticatedSession) -> Self {
        Self::Session(access)
    }
}

/// The proof in a request.
#[derive(Clone, Debug)]
pub struct OwnerProof {
    /// The password as received.
    pub password: Secret<String>,
    /// The second factor as received.
    pub second_factor: Option<SecondFactor>,
    /// The source of the request.
    pub device: Device,
}

impl OwnerProof {
    pub(super) fn network(&self) -> &str {
        self.device.address.as_deref().unwrap_or_default()
    }
}

/// Whether an operation needs a second factor of an account that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FactorRule {
    /// It needs one in the request, or a session that has just proven one.
    Required,
    /// One in the request is verified.
    Optional,
}

/// A proof that was verified.
#[derive(Clone)]
pub(super) struct ProvenOwner {
    pub found: Credentials,
    /// The second factor of the request, which is not used up yet.
    pub used: Option<UsedFactor>,
}

impl ProvenOwner {
    /// Uses up the second factor of the request, as the first statement of the unit of work that
    /// relies on it; false when the account has changed since it was read.
    pub(super) fn use_factor(
        &self,
        accounts: &Accounts,
        tx: &mut Tx<'_>,
        device: &Device,
        now: Timestamp,
    ) -> QueryResult<bool> {
        match &self.used {
            Some(used) => accounts.use_factor(tx, &self.found, used, device, now),
            None => Ok(true),
        }
    }
}

impl Accounts {
    /// Verifies a proof and applies a change. `apply` returns `None` when the account has changed
    /// since it was read; then everything is verified again.
    pub(super) async fn with_proof<T, E: From<LogInError>>(
        &self,
        owner: Owner,
        proof: &OwnerProof,
        rule: FactorRule,
        mut apply: impl AsyncFnMut(ProvenOwner) -> Result<Option<T>, E>,
    ) -> Result<T, E> {
        let network = proof.network();
        let (mut found, known) = self.credentials_of(owner.user(), network).await?;
        let mut check = proof.second_factor.as_ref().map(|it| FactorCheck::new(it, &proof.device));
        let mut kept = None;
        let password = Password::parse(proof.password.expose()).ok();
        for _ in 0..MAX_COMPARISONS {
            self.ensure_factor_is_given(owner, proof, &found, rule)?;
            let reservation = match kept.take() {
                Some(reservation) => reservation,
                None => self.reserve_for_owner(owner, &found, known, network)?,
            };
            let right =
                self.verify_own_password(found, password.clone(), reservation, network).await?;
            let VerifiedPassword { found: current, mut reservation, .. } = right;
            let mut used = None;
            if let Some(check) = check.as_mut().filter(|_| current.has_factor()) {
                used = Some(check.compare_after(&mut reservation, self, &current).await?);
            }
            if let Some(done) = apply(ProvenOwner { found: current, used }).await? {
                return Ok(done);
            }
            kept = Some(reservation);
            (found, _) = self.credentials_of(owner.user(), network).await?;
        }
        Err(LogInError::Changing.into())
    }

    fn ensure_factor_is_given(
        &self,
        owner: Owner,
        proof: &OwnerProof,
        found: &Credentials,
        rule: FactorRule,
    ) -> Result<(), LogInError> {
        owner.ensure_valid_for(found)?;
        let now = self.clock.now();
        let is_fresh =
            owner.factor_proven_at().is_some_and(|at| now.since(at) <= self.factors.fresh_for);
        let is_enough = rule == FactorRule::Optional
            || !found.has_factor()
            || proof.second_factor.is_some()
            || is_fresh;
        if is_enough { Ok(()) } else { Err(LogInError::FactorProofRequired) }
    }
}
