//! One attempt at a password: a place in the budget of failures, and then one hash.

use std::time::Duration;

use tracing::Instrument as _;

use super::budget::{Origin, Place, Taken};
use super::rows::Credentials;
use super::{Accounts, Attempt, LogInError};
use crate::audit::Kind;
use crate::database::StoreError;
use crate::passwords::{Overloaded, Password, PasswordHash, Verdict};
use crate::sessions::access::Access;

/// When to try again to log in while many are at it for the same account: a hash takes less.
const SOON: Duration = Duration::from_secs(1);

/// A password that was compared and right.
pub(super) struct Right {
    pub found: Credentials,
    /// A better hash of it, where there is to be one.
    pub upgraded: Option<PasswordHash>,
    pub place: Place,
}

impl Accounts {
    /// A place in the budget for somebody who is logged in: the session's own, which nobody can use
    /// up who has only refresh tokens of it, or else the network's.
    pub(super) async fn place_of(
        &self,
        access: Access,
        found: &Credentials,
        network: &str,
    ) -> Result<Place, LogInError> {
        let session = Origin::Session(access.session.uuid());
        match self.budget.take_known(&found.email_key, &session) {
            Taken::Granted(place) => Ok(place),
            Taken::Busy { .. } | Taken::Spent { .. } => {
                self.place_of_network(&found.email_key, Some(found), network).await
            }
        }
    }

    /// One hash, whatever there is to compare. The place is then given back at its end, unless a
    /// password was compared and wrong, or right and of no use: a disabled account is spent like any
    /// other. Both happen whether or not the client hangs up meanwhile, and so does the event of a
    /// failure.
    pub(super) async fn compare(
        &self,
        found: Option<Credentials>,
        password: Option<Password>,
        mut place: Place,
        address: &str,
    ) -> Result<Right, LogInError> {
        let stored = found.as_ref().map(|found| found.hash.clone());
        let is_disabled = found.as_ref().is_some_and(|found| found.disabled);
        let (hasher, audit) = (self.hasher.clone(), self.audit.clone());
        let (user, address) = (found.as_ref().map(|found| found.id), address.to_owned());
        let comparison = async move {
            // Should this end halfway.
            place.return_at_end(false);
            let verdict = hasher.verify(password, stored).await;
            let is_good = matches!(verdict, Ok(Verdict::Right { .. })) && !is_disabled;
            place.return_at_end(is_good || verdict.is_err());
            if !is_good && verdict.is_ok() {
                audit.failed(Kind::LoginFailed, user, &address);
            }
            (verdict, place)
        };
        let compared = tokio::spawn(comparison.in_current_span()).await;
        let (verdict, place) = compared.map_err(|_| StoreError::Failed)?;
        match (verdict?, found) {
            (Verdict::Right { upgraded }, Some(found)) if !found.disabled => {
                Ok(Right { found, upgraded, place })
            }
            _ => Err(LogInError::Wrong),
        }
    }

    /// A place in the budget: the device's own for those who show a refresh token of the account, or
    /// else the network's.
    pub(super) async fn place_for(
        &self,
        key: &str,
        found: Option<&Credentials>,
        attempt: &Attempt<'_>,
    ) -> Result<Place, LogInError> {
        if let (Some(found), Some(token)) = (found, &attempt.known_device)
            && let Some(held) = self.sessions.knows_device(found.id, token).await?
            && let Taken::Granted(place) =
                self.budget.take_known(key, &Origin::Device(token.session, held))
        {
            return Ok(place);
        }
        self.place_of_network(key, found, attempt.network).await
    }

    /// A place in the budget of a client network. Where strangers have spent the account's, only
    /// networks get one that it logged in from.
    async fn place_of_network(
        &self,
        key: &str,
        found: Option<&Credentials>,
        network: &str,
    ) -> Result<Place, LogInError> {
        let address = Origin::Address(network.to_owned());
        let taken = self.budget.take(key, &address);
        let is_the_accounts =
            matches!(taken, Taken::Spent { account: true, .. } | Taken::Busy { account: true });
        if let Some(found) = found.filter(|_| is_the_accounts)
            && self.sessions.knows_address(found.id, network.to_owned()).await?
        {
            return granted(self.budget.take_known(key, &address));
        }
        granted(taken)
    }
}

fn granted(taken: Taken) -> Result<Place, LogInError> {
    match taken {
        Taken::Granted(place) => Ok(place),
        Taken::Busy { .. } => Err(Overloaded { retry_after: SOON }.into()),
        Taken::Spent { retry_after, .. } => Err(LogInError::Spent { retry_after }),
    }
}
