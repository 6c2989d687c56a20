//! Known devices and networks of an account: those of its sessions. They can log in while an
//! attacker is guessing the password.
//!
//! A device stays known after its session has ended or expired, as long as the session is stored,
//! but not after a reuse: a token was stolen, and it is unknown which of its two holders sends it.
//! Of the sessions that a password change ends, only the one that changed it still counts, until
//! the next change; after an operator's change or a reset none does.

use diesel::QueryResult;

use super::{Sessions, queries};
use crate::clock::Timestamp;
use crate::database::{AnyConnection, Id, Tx};
use crate::refresh_token::RefreshToken;
use crate::secret::equal;

/// Whether a request's device and network are known to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownSource {
    /// The kind of refresh token in the request, if that belongs to a session of the user that is
    /// stored and still counts for known devices.
    pub device: Option<DeviceToken>,
    /// Whether the user has a stored session from its address that did not end by a reuse, a change
    /// or a reset of the password.
    pub network: bool,
}

impl KnownSource {
    /// Neither is known.
    pub const UNKNOWN: Self = Self { device: None, network: false };
}

/// A refresh token as evidence that a device has logged in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceToken {
    /// The session's current one, or its predecessor, whose successor may have been lost in
    /// transit.
    Newest,
    /// An older one. Its holder may be an attacker who found a backup.
    Older,
}

impl Sessions {
    /// Whether the device and network of a request are known to the account of `user`. For an id
    /// without an account, the same statements run and nothing is known.
    ///
    /// # Errors
    /// The database error.
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

    /// Whether the session of a request's refresh token or its network is known to the account of
    /// `user`.
    ///
    /// # Errors
    /// The database error.
    pub fn is_known_source(
        &self,
        connection: &mut AnyConnection,
        user: Id,
        session: Option<Id>,
        address: &str,
    ) -> QueryResult<bool> {
        let trusted = match session {
            Some(session) => queries::find_trusted(connection, session)?,
            None => None,
        };
        let is_known_device = trusted.is_some_and(|row| row.user_id == user);
        Ok(is_known_device || self.known_source(connection, user, None, address)?.network)
    }

    /// Records that this session of the user changes the password, so that only its device stays
    /// known. Call it in the unit of work of the change, before the change ends the session.
    ///
    /// # Errors
    /// The database error.
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

/// Records, in the caller's unit of work, that an operator, or a mailed link or code, sets the
/// user's password: the session that changed it before no longer counts.
///
/// # Errors
/// The database error.
pub fn record_password_set(tx: &mut Tx<'_>, user: Id) -> QueryResult<()> {
    queries::forget_password_change(tx.connection(), user)
}

/// Erases personal data from the user's sessions, in the unit of work that closes the account.
///
/// # Errors
/// The database error.
pub fn erase_devices(tx: &mut Tx<'_>, user: Id) -> QueryResult<()> {
    queries::erase_devices(tx.connection(), user)
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
            DeviceToken::Older
        }
    }))
}
