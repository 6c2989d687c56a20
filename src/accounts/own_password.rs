//! Password attempts by a user who is logged in to the account.

use super::password_check::{ReservedAttempt, VerifiedPassword};
use super::queries::{self, Credentials};
use super::throttle::ThrottleKey;
use super::{Accounts, Email, LogInError};
use crate::passwords::Password;
use crate::sessions::KnownSource;
use crate::sessions::authenticate::AuthenticatedSession;

impl Accounts {
    /// Reads the credentials of the user, and whether the network is known to the account.
    ///
    /// # Errors
    /// [`LogInError::Changing`] when the account was closed meanwhile.
    pub(super) async fn credentials_of(
        &self,
        access: AuthenticatedSession,
        network: &str,
    ) -> Result<(Credentials, KnownSource), LogInError> {
        let (this, network) = (self.clone(), network.to_owned());
        let (found, known) = self
            .db
            .read(move |c| {
                let found = queries::credentials_by_id(c, access.user)?;
                Ok((found, this.sessions.known_source(c, access.user, None, &network)?))
            })
            .await?;
        // Its owner or an operator has closed it since the access token was verified.
        Ok((found.ok_or(LogInError::Changing)?, known))
    }

    /// Reserves an attempt by a logged-in user for the session, whose limit is separate from that
    /// of its refresh tokens, otherwise for the network.
    pub(super) fn reserve_in_session(
        &self,
        access: AuthenticatedSession,
        found: &Credentials,
        known: KnownSource,
        network: &str,
    ) -> Result<ReservedAttempt, LogInError> {
        let session = ThrottleKey::Session(access.session.uuid());
        let key = Email::key_of(&found.email);
        self.reserve(&key, Some(found.id), Some(session), known, network)
    }

    /// [`Self::verify_password`] for a user who is logged in to the account.
    pub(super) async fn verify_own_password(
        &self,
        found: Credentials,
        password: Option<Password>,
        reservation: ReservedAttempt,
        address: &str,
    ) -> Result<VerifiedPassword, LogInError> {
        let key = found.email_key.clone();
        self.verify_password(Some(found), &key, password, reservation, address).await
    }
}
