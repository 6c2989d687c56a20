//! Which devices and networks an account knows: those that had a session of it. They get in while
//! strangers guess at its password.
//!
//! Sessions vouch for a device after they have ended or expired, as long as they are remembered, but
//! not after a reuse: somebody has stolen a token, and nobody can tell which of the two shows it. When
//! the password changes, of the sessions that it ends only the one that changed it vouches on, until
//! the next change; of those that an operator's change ends none does.

use diesel::QueryResult;

use super::{Sessions, queries};
use crate::clock::Timestamp;
use crate::database::{AnyConnection, Id, Tx};
use crate::refresh_token::RefreshToken;
use crate::secret::equal;

/// What an account knows about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownSource {
    /// The kind of refresh token that it shows, if that belongs to a session that the user has, or
    /// had within the time that ended sessions are kept, and that still vouches for its devices.
    pub device: Option<DeviceToken>,
    /// Whether the user has, or had within that time, a session at its address that was not ended
    /// for suspicion.
    pub network: bool,
}

/// A refresh token that shows that a device has logged in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceToken {
    /// The session's present one, or its parent, whose answer may have been lost.
    Newest,
    /// An older one. Its holder may be somebody who found a backup.
    Spent,
}

impl Sessions {
    /// What the account of `user` knows about a request. For an id that no account has, nothing is
    /// known after the same statements.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn known_source(
        &self,
        connection: &mut AnyConnection,
        user: Id,
        token: Option<&RefreshToken>,
        address: &str,
    ) -> QueryResult<KnownSource> {
        let device = match token {
            Some(token) => known_device(connection, user, token)?,
            None => None,
        };
        let since = self.clock.now().minus(self.policy.known_address_lifetime);
        let network = queries::has_address(connection, user, address, since)?;
        Ok(KnownSource { device, network })
    }

    /// Notes that this session of the user changes the password, so that it alone vouches for its
    /// device on; before it ends by that, in the same unit of work.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn record_password_change(
        &self,
        tx: &mut Tx<'_>,
        user: Id,
        session: Id,
        now: Timestamp,
    ) -> QueryResult<()> {
        queries::forget_password_change(tx.connection(), user)?;
        queries::record_password_change(tx.connection(), session, now)
    }
}

/// Notes, in the caller's unit of work, that an operator changes the user's password: the session that
/// changed it before vouches no longer.
///
/// # Errors
/// Whatever the database says.
pub fn record_password_set(tx: &mut Tx<'_>, user: Id) -> QueryResult<()> {
    queries::forget_password_change(tx.connection(), user)
}

fn known_device(
    connection: &mut AnyConnection,
    user: Id,
    token: &RefreshToken,
) -> QueryResult<Option<DeviceToken>> {
    let row = queries::find_trusted(connection, token.session.into())?;
    let own =
        row.filter(|row| row.user_id == user && equal(&row.family_hash, &token.family_digest()));
    Ok(own.map(|row| {
        if token.generation.saturating_add(1) >= row.generation() {
            DeviceToken::Newest
        } else {
            DeviceToken::Spent
        }
    }))
}
