//! One attempt at a password: a place in the budget of failures, and then one hash.
//!
//! Every path of a login does the same work, and gives the same answers, whether or not there is such
//! an account. Where strangers have spent the account's budget, only known devices and known networks
//! get in. A stranger can be in a known network, too, and must not learn there that the account exists.
//! So the answer is the refusal, after a hash, whatever the account and the network are, unless the
//! network is known and the password right. Elsewhere the hash is compared with nothing: a stranger
//! cannot guess on.

use std::time::Duration;

use tracing::Instrument as _;

use super::queries::Credentials;
use super::throttle::{Reservation, ReserveOutcome, ThrottleKey};
use super::{Accounts, LogInError};
use crate::audit::EventKind;
use crate::database::{Id, StoreError};
use crate::passwords::{Overloaded, Password, PasswordHash, Verdict};
use crate::sessions::KnownSource;

/// When to try again to log in while many are at it for the same account: a hash takes less.
const SOON: Duration = Duration::from_secs(1);

/// A place in the budget of failures, and what it is good for.
pub(super) struct ReservedAttempt {
    place: Reservation,
    /// What a wrong password is answered with when strangers have spent the account's budget.
    refusal: Option<Refusal>,
    /// Whether the password is compared at all.
    compares: bool,
}

/// Why the budget has no place.
#[derive(Clone, Copy)]
enum Refusal {
    Busy,
    Throttled { retry_after: Duration },
}

impl From<Refusal> for LogInError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => Overloaded { retry_after: SOON }.into(),
            Refusal::Throttled { retry_after } => Self::Throttled { retry_after },
        }
    }
}

/// A password that was compared and right.
pub(super) struct VerifiedPassword {
    pub found: Credentials,
    /// A better hash of it, where there is to be one.
    pub upgraded: Option<PasswordHash>,
    pub reservation: ReservedAttempt,
}

impl Accounts {
    /// A place in the budget: that of what the attempt shows, a device or a session, or else the
    /// network's. That there is none is an event of the account, or of nobody's.
    pub(super) fn reserve(
        &self,
        key: &str,
        user: Option<Id>,
        shown: Option<ThrottleKey>,
        known: KnownSource,
        network: &str,
    ) -> Result<ReservedAttempt, LogInError> {
        self.place_for(key, shown, known, network).map_err(|refusal| {
            if let Refusal::Throttled { .. } = refusal {
                self.audit.failed(EventKind::LoginThrottled, user, network);
            }
            refusal.into()
        })
    }

    fn place_for(
        &self,
        key: &str,
        shown: Option<ThrottleKey>,
        known: KnownSource,
        network: &str,
    ) -> Result<ReservedAttempt, Refusal> {
        let place = shown.and_then(|shown| self.budget.take_known(key, &shown).place().ok());
        if let Some(place) = place {
            return Ok(ReservedAttempt { place, refusal: None, compares: true });
        }
        let network = ThrottleKey::Network(network.to_owned());
        let taken = self.budget.take(key, &network);
        let is_the_accounts = matches!(
            taken,
            ReserveOutcome::Throttled { account: true, .. }
                | ReserveOutcome::Busy { account: true }
        );
        match taken.place() {
            Ok(place) => Ok(ReservedAttempt { place, refusal: None, compares: true }),
            Err(refusal) if is_the_accounts => {
                let place = self.budget.take_known(key, &network).place()?;
                Ok(ReservedAttempt { place, refusal: Some(refusal), compares: known.network })
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// One hash, whatever there is to compare. The place is then given back at its end, unless a
    /// password was compared and wrong, or could not be compared: a disabled account is spent like
    /// any other. Both happen whether or not the client hangs up meanwhile, and so does the event of
    /// a failure.
    pub(super) async fn compare(
        &self,
        found: Option<Credentials>,
        password: Option<Password>,
        reservation: ReservedAttempt,
        address: &str,
    ) -> Result<VerifiedPassword, LogInError> {
        let ReservedAttempt { mut place, refusal, compares } = reservation;
        let user = found.as_ref().map(|found| found.id);
        let found = found.filter(|found| compares && !found.disabled);
        let stored = found.as_ref().map(|found| found.hash.clone());
        let (hasher, audit, address) =
            (self.hasher.clone(), self.audit.clone(), address.to_owned());
        let comparison = async move {
            // Should this end halfway.
            place.return_at_end(false);
            let verdict = hasher.verify(password, stored).await;
            let is_wrong = matches!(verdict, Ok(Verdict::Wrong));
            place.return_at_end(!is_wrong);
            if is_wrong {
                let failure = refusal.map_or(EventKind::LoginFailed, |_| EventKind::LoginThrottled);
                audit.failed(failure, user, &address);
            }
            (verdict, place)
        };
        let compared = tokio::spawn(comparison.in_current_span()).await;
        let (verdict, place) = compared.map_err(|_| StoreError::Failed)?;
        match (verdict?, found) {
            (Verdict::Right { upgraded }, Some(found)) => Ok(VerifiedPassword {
                found,
                upgraded,
                reservation: ReservedAttempt { place, refusal, compares },
            }),
            _ => Err(refusal.map_or(LogInError::Wrong, LogInError::from)),
        }
    }
}

impl ReserveOutcome {
    fn place(self) -> Result<Reservation, Refusal> {
        match self {
            Self::Granted(place) => Ok(place),
            Self::Busy { .. } => Err(Refusal::Busy),
            Self::Throttled { retry_after, .. } => Err(Refusal::Throttled { retry_after }),
        }
    }
}
