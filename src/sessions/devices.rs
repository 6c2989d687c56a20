//! Which devices and networks an account knows: those that had a session of it. They get in while
//! strangers guess at its password.
//!
//! Sessions vouch for a device after they have ended or expired, as long as they are remembered, but
//! not after a reuse: somebody has stolen a token, and nobody can tell which of the two shows it. When
//! the password changes, only the session that changed it vouches on; an operator's change leaves none.

use diesel::QueryResult;

use super::{Sessions, rows};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError, Tx};
use crate::refresh_token::RefreshToken;
use crate::secret::equal;

/// A refresh token that shows that a device has logged in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceToken {
    /// The session's present one, or its parent, whose answer may have been lost.
    Newest,
    /// An older one. Its holder may be somebody who found a backup.
    Spent,
}

impl Sessions {
    /// The kind of refresh token that this is, if the user has, or had within the time that ended
    /// sessions are kept, the session that it belongs to, and that session still vouches for its
    /// devices.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn knows_device(
        &self,
        user: Id,
        token: &RefreshToken,
    ) -> Result<Option<DeviceToken>, StoreError> {
        let (session, digest) = (Id::from(token.session), token.family_digest());
        let generation = token.generation;
        let row = self.db.read(move |c| rows::vouching(c, session)).await?;
        let row = row.filter(|row| row.user_id == user && equal(&row.family_hash, &digest));
        Ok(row.map(|row| {
            if generation.saturating_add(1) >= row.generation() {
                DeviceToken::Newest
            } else {
                DeviceToken::Spent
            }
        }))
    }

    /// Whether the user has, or had within the time that ended sessions are kept, a session at this
    /// address that was not ended for suspicion.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn knows_address(&self, user: Id, address: String) -> Result<bool, StoreError> {
        let since = self.clock.now().minus(self.policy.known_address_for);
        self.db.read(move |c| rows::has_address(c, user, &address, since)).await
    }

    /// Notes that this session changes the password, so that it vouches for its device on; before it
    /// ends by that, in the same unit of work.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn note_password_change(
        &self,
        tx: &mut Tx<'_>,
        session: Id,
        now: Timestamp,
    ) -> QueryResult<()> {
        rows::note_password_change(tx.connection(), session, now)
    }
}
