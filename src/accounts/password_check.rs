//! One password attempt: a reservation with login throttling, then one hash.
//!
//! Every path of a login does the same work and returns the same responses, whether or not the
//! account exists. When unknown sources have reached the account's limit, only known devices and
//! known networks can log in. An attacker in a known network must not learn that the account
//! exists. So every further attempt costs one hash and is throttled, unless the network is known
//! and the password is right. For an unknown network the hash is not compared, so an attacker gets
//! no further guesses.

use std::time::Duration;

use tracing::Instrument as _;

use super::queries::Credentials;
use super::throttle::{Reservation, ReserveOutcome, ThrottleKey};
use super::{Accounts, LogInError};
use crate::audit::EventKind;
use crate::database::{Id, StoreError};
use crate::passwords::{Candidate, Overloaded, Password, PasswordHash, Verdict};
use crate::sessions::KnownSource;

/// Retry-After while other attempts on the same account are in progress: a hash takes less.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A reserved attempt and its effect.
pub(super) struct ReservedAttempt {
    reservation: Reservation,
    /// The response to a wrong password when unknown sources have reached the account's limit.
    refusal: Option<ReserveRefusal>,
    /// Whether the password is compared.
    compares_password: bool,
}

impl ReservedAttempt {
    /// Keeps the reservation unless [`Self::release`] is called, although the password was right.
    pub(super) const fn keep(&mut self) {
        self.reservation.release_on_drop(false);
    }

    /// Releases the reservation on drop.
    pub(super) const fn release(&mut self) {
        self.reservation.release_on_drop(true);
    }

    /// Keeps the reservation, and returns its shares for
    /// [`LoginThrottle::release`](super::throttle::LoginThrottle::release).
    pub(super) fn into_shares(self) -> Vec<u8> {
        self.reservation.into_shares()
    }
}

/// Why an attempt was not reserved.
#[derive(Clone, Copy)]
enum ReserveRefusal {
    Busy,
    Throttled { retry_after: Duration },
}

impl From<ReserveRefusal> for LogInError {
    fn from(refusal: ReserveRefusal) -> Self {
        match refusal {
            ReserveRefusal::Busy => Overloaded { retry_after: BUSY_RETRY_AFTER }.into(),
            ReserveRefusal::Throttled { retry_after } => Self::Throttled { retry_after },
        }
    }
}

/// A password that was compared and is right.
pub(super) struct VerifiedPassword {
    pub found: Credentials,
    /// The upgraded hash, if its parameters are outdated.
    pub upgraded: Option<PasswordHash>,
    pub reservation: ReservedAttempt,
}

impl Accounts {
    /// Reserves an attempt for the device or session whose token the request has, otherwise for the
    /// network. A refusal is recorded as an event of the account, or without an account for an
    /// unknown address.
    pub(super) fn reserve(
        &self,
        key: &str,
        user: Option<Id>,
        shown: Option<ThrottleKey>,
        known: KnownSource,
        network: &str,
    ) -> Result<ReservedAttempt, LogInError> {
        self.try_reserve(key, shown, known, network).map_err(|refusal| {
            if let ReserveRefusal::Throttled { .. } = refusal {
                self.audit.record_failure(EventKind::LoginThrottled, user, network);
            }
            refusal.into()
        })
    }

    fn try_reserve(
        &self,
        key: &str,
        shown: Option<ThrottleKey>,
        known: KnownSource,
        network: &str,
    ) -> Result<ReservedAttempt, ReserveRefusal> {
        let reservation =
            shown.and_then(|shown| self.throttle.reserve_known(key, &shown).reservation().ok());
        if let Some(reservation) = reservation {
            return Ok(ReservedAttempt { reservation, refusal: None, compares_password: true });
        }
        let network = ThrottleKey::Network(network.to_owned());
        let taken = self.throttle.reserve(key, &network);
        let is_account_wide = matches!(
            taken,
            ReserveOutcome::Throttled { account: true, .. }
                | ReserveOutcome::Busy { account: true }
        );
        match taken.reservation() {
            Ok(reservation) => {
                Ok(ReservedAttempt { reservation, refusal: None, compares_password: true })
            }
            Err(refusal) if is_account_wide => {
                let reservation = self.throttle.reserve_known(key, &network).reservation()?;
                Ok(ReservedAttempt {
                    reservation,
                    refusal: Some(refusal),
                    compares_password: known.network,
                })
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Verifies the password at the cost of exactly one hash, known account or not. The reservation
    /// is then released, unless a password was compared and wrong, or could not be compared:
    /// attempts on a disabled account count like those on any other. Both happen whether or not the
    /// client disconnects, and so does the event of a failure.
    pub(super) async fn verify_password(
        &self,
        found: Option<Credentials>,
        email_key: &str,
        password: Option<Password>,
        reservation: ReservedAttempt,
        address: &str,
    ) -> Result<VerifiedPassword, LogInError> {
        let ReservedAttempt { mut reservation, refusal, compares_password } = reservation;
        let user = found.as_ref().map(|found| found.id);
        let candidate = match &found {
            None => self.hasher.dummy(email_key),
            // It has no password, and costs the same as an unknown address.
            Some(found) if found.invited_until.is_some() => self.hasher.dummy(email_key),
            // The account's own hash is computed, because another one could cost more or less.
            Some(found) if !compares_password || found.disabled_at.is_some() => {
                Candidate::Uncompared(found.hash.clone())
            }
            Some(found) => Candidate::Stored(found.hash.clone()),
        };
        let (hasher, audit, address) =
            (self.hasher.clone(), self.audit.clone(), address.to_owned());
        let comparison = async move {
            // The reservation stays if this future is dropped before the comparison ends.
            reservation.release_on_drop(false);
            let verdict = hasher.verify(password, candidate).await;
            let is_wrong = matches!(verdict, Ok(Verdict::Wrong));
            reservation.release_on_drop(!is_wrong);
            if is_wrong {
                let failure = refusal.map_or(EventKind::LoginFailed, |_| EventKind::LoginThrottled);
                audit.record_failure(failure, user, &address);
            }
            (verdict, reservation)
        };
        let compared = tokio::spawn(comparison.in_current_span()).await;
        let (verdict, reservation) = compared.map_err(|_| StoreError::Failed)?;
        match (verdict?, found) {
            (Verdict::Right { upgraded }, Some(found)) => Ok(VerifiedPassword {
                found,
                upgraded,
                reservation: ReservedAttempt { reservation, refusal, compares_password },
            }),
            _ => Err(refusal.map_or(LogInError::Wrong, LogInError::from)),
        }
    }
}

impl ReserveOutcome {
    fn reservation(self) -> Result<Reservation, ReserveRefusal> {
        match self {
            Self::Granted(reservation) => Ok(reservation),
            Self::Busy { .. } => Err(ReserveRefusal::Busy),
            Self::Throttled { retry_after, .. } => Err(ReserveRefusal::Throttled { retry_after }),
        }
    }
}
