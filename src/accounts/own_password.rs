//! Password attempts by the owner of an account, who shows a token of it.

use super::owner_proof::Owner;
use super::password_check::{ReservedAttempt, VerifiedPassword};
use super::queries::{self, Credentials};
use super::throttle::ThrottleKey;
use super::{Accounts, Email, LogInError};
use crate::database::Id;
use crate::passwords::Password;
use crate::sessions::KnownSource;

impl Accounts {
    /// Reads the credentials of the user, and whether the network is known to the account.
    ///
    /// # Errors
    /// [`LogInError::Changing`] when the account was closed meanwhile.
    pub(super) async fn credentials_of(
        &self,
        user: Id,
        network: &str,
    ) -> Result<(Credentials, KnownSource), LogInError> {
        let (this, network) = (self.clone(), network.to_owned());
        let (found, known) = self
            .db
            .read(move |c| {
                let found = queries::credentials_by_id(c, user)?;
                Ok((found, this.sessions.known_source(c, user, None, &network)?))
            })
            .await?;
        // Its owner or an operator has closed it since the token was verified.
        Ok((found.ok_or(LogInError::Changing)?, known))
    }

    /// Reserves an attempt by the owner for the session, whose limit is separate from that of its
    /// refresh tokens, otherwise for the network.
    pub(super) fn reserve_for_owner(
        &self,
        owner: Owner,
        found: &Credentials,
        known: KnownSource,
        network: &str,
    ) -> Result<ReservedAttempt, LogInError> {
        let session = owner.session().map(|session| ThrottleKey::Session(session.uuid()));
        let key = Email::key_of(&found.email);
        self.reserve(&key, Some(found.id), session, known, network)
    }

    /// [`Self::verify_password`] for the owner of the account.
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
