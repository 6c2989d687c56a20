//! The rotation rule: the meaning of a refresh token for its session, as one function without I/O.
//!
//! A session is at a generation c. Of its tokens, c is the current one and c − 1 is its
//! predecessor, whose successor may have been lost in transit. The decision table of [`decide`],
//! from the top:
//!
//! | the session | the token | the decision |
//! | --- | --- | --- |
//! | ended, expired, account disabled | any | rejected, with the reason |
//! | rotated within the retry window | c or c − 1 | token c again |
//! | else | c | a rotation: token c + 1 |
//! | else | c − 1 with an `Idempotency-Key` of this rotation | token c again; the window opens again, once for each generation |
//! | else, no key is known, neither c nor c − 1 was forgiven | c − 1 | token c again; the window opens again, once for each generation (forgiveness) |
//! | any live one | above c | the database is older than the token: a rotation from there |
//! | any live one | any other | reuse: the session ends |
//!
//! So an honest client that retries is never logged out, and a stolen token is detected when either
//! holder next uses an outdated one. A thief who holds token and key cannot keep the window open:
//! within a generation it reopens once, by a proven retry or by forgiveness. The tests explore
//! every interleaving of a few requests.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::named::named;
use crate::secret::sha256;

/// The maximum number of keys stored for one rotation: a client with more concurrent retries should
/// use one key for them.
pub const MAX_KEYS: usize = 4;

/// The part of a session's row that the rule depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// The generation of the current token.
    pub generation: u32,
    /// When it was created, or last returned to a proven retry or a forgiven request; `None` for
    /// the first.
    pub rotated_at: Option<Timestamp>,
    /// The keys of the requests that led to it.
    pub retry_keys: Vec<KeyHash>,
    /// The generation whose predecessor was last accepted without proof.
    pub forgiven_generation: Option<u32>,
    /// The generation whose window was reopened by a proven retry.
    pub reopened_generation: Option<u32>,
    /// Why the session has ended, if it has.
    pub ended: Option<EndReason>,
    /// When it reaches its idle timeout.
    pub expires_at: Timestamp,
    /// When it reaches its absolute timeout.
    pub ends_at: Timestamp,
}

/// The decision about a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Return the current token; nothing changes.
    RepeatResponse,
    /// Return the current token, and store one more key of this rotation.
    RepeatResponseAndStoreKey(Vec<KeyHash>),
    /// Return the current token and reopen the window: a proven retry.
    ProvenRetry,
    /// Return the current token to a later proven retry of this generation; nothing changes.
    RepeatProvenRetry,
    /// Return the current token and reopen the window without proof, once for this generation.
    ForgiveLostResponse,
    /// Return the token of the generation `to`, reached by a request with these keys.
    Rotate {
        /// The new generation.
        to: u32,
        /// None or one.
        keys: Vec<KeyHash>,
        /// Whether the token was newer than the row: commits were lost.
        fast_forward: bool,
    },
    /// An already rotated token: end the session.
    Reuse,
    /// Reject: the session has ended.
    Ended(EndReason),
    /// Reject: the session has expired.
    Expired,
}

/// The decision for a token of generation `presented` used at `now`, with or without an
/// `Idempotency-Key`.
///
/// A `window` of zero is strict mode: every use rotates, nothing is forgiven, and every replay
/// needs its key.
#[must_use]
pub fn decide(
    state: &SessionState,
    presented: u32,
    key: Option<KeyHash>,
    now: Timestamp,
    window: Duration,
) -> Decision {
    let current = state.generation;
    let is_current = presented == current;
    let is_predecessor = presented.checked_add(1) == Some(current);
    if let Some(reason) = state.ended {
        return Decision::Ended(reason);
    }
    if now >= state.expires_at || now >= state.ends_at || presented == u32::MAX {
        return Decision::Expired;
    }
    if state.in_window(now, window) && (is_current || is_predecessor) {
        return match key {
            Some(key) if is_predecessor && state.has_room_for(key) => {
                Decision::RepeatResponseAndStoreKey([state.retry_keys.as_slice(), &[key]].concat())
            }
            _ => Decision::RepeatResponse,
        };
    }
    if is_current || presented > current {
        // A key of the previous rotation would later "prove" a retry of a request that was never
        // made.
        let keys = key.into_iter().filter(|key| !state.retry_keys.contains(key)).collect();
        return Decision::Rotate { to: presented + 1, keys, fast_forward: !is_current };
    }
    if is_predecessor && key.is_some_and(|key| state.retry_keys.contains(&key)) {
        return if state.may_reopen() {
            Decision::ProvenRetry
        } else {
            Decision::RepeatProvenRetry
        };
    }
    if is_predecessor && !window.is_zero() && state.retry_keys.is_empty() && !state.was_forgiven() {
        return Decision::ForgiveLostResponse;
    }
    Decision::Reuse
}

/// When a session used at `now` expires: never after its absolute timeout, and never earlier than
/// before.
#[must_use]
pub fn next_expiry(state: &SessionState, now: Timestamp, idle_timeout: Duration) -> Timestamp {
    idle_expiry((state.expires_at, state.ends_at), now, idle_timeout)
}

/// [`next_expiry`] computed from two times alone: the current expiry and the absolute timeout.
pub(super) fn idle_expiry(
    (expires_at, ends_at): (Timestamp, Timestamp),
    now: Timestamp,
    idle_timeout: Duration,
) -> Timestamp {
    ends_at.min(now.plus(idle_timeout).max(expires_at))
}

impl SessionState {
    /// Whether `now` is within the retry window, a half-open interval. A window of zero is never
    /// open, not even for a node whose clock is behind that of the rotating one.
    fn in_window(&self, now: Timestamp, window: Duration) -> bool {
        !window.is_zero()
            && self.rotated_at.is_some_and(|rotated_at| {
                // A rotation further in the future was recorded before this clock was set back.
                now < rotated_at.plus(window) && rotated_at <= now.plus(window)
            })
    }

    fn has_room_for(&self, key: KeyHash) -> bool {
        self.retry_keys.len() < MAX_KEYS && !self.retry_keys.contains(&key)
    }

    /// Whether the window may open again: once per generation, by proof or by forgiveness.
    /// Otherwise a thief who has the key could keep the window open, and so the generation
    /// unchanged.
    fn may_reopen(&self) -> bool {
        let current = Some(self.generation);
        self.reopened_generation != current && self.forgiven_generation != current
    }

    /// Whether this generation or the one before was forgiven. Two in a row would let a thief and
    /// the owner alternate forever.
    fn was_forgiven(&self) -> bool {
        self.forgiven_generation.is_some_and(|forgiven| {
            forgiven == self.generation || forgiven.checked_add(1) == Some(self.generation)
        })
    }
}

/// A hashed `Idempotency-Key`: reading the row must not be enough to retry for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; Self::LENGTH]);

impl KeyHash {
    const LENGTH: usize = 16;

    /// The hash of a key: half of SHA-256.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let digest = sha256(key);
        Self(std::array::from_fn(|i| digest[i]))
    }

    /// Concatenated hashes, the format of the column.
    #[must_use]
    pub fn join(keys: &[Self]) -> Vec<u8> {
        keys.iter().flat_map(|key| key.0).collect()
    }

    /// Splits concatenated hashes.
    #[must_use]
    pub fn split(column: &[u8]) -> Vec<Self> {
        column.as_chunks().0.iter().map(|chunk| Self(*chunk)).collect()
    }
}

named! {
    /// Why a session has ended, for its owner to read.
    pub enum EndReason {
        /// Its owner logged out.
        Logout = "logout",
        /// Its owner ended it from the list.
        EndedByUser = "ended_by_user",
        /// An operator ended it.
        EndedByOperator = "ended_by_operator",
        /// An already rotated refresh token of it was used again.
        RefreshTokenReused = "refresh_token_reused",
        /// The password was changed.
        PasswordChanged = "password_changed",
        /// A mailed link or code set a new password.
        PasswordReset = "password_reset",
        /// The account's address was changed.
        EmailChanged = "email_changed",
        /// A role or a custom claim was taken from the account.
        RolesChanged = "roles_changed",
        /// An operator removed the second factors of the account.
        FactorsReset = "factors_reset",
        /// The account was disabled.
        AccountDisabled = "account_disabled",
        /// The account was closed.
        AccountClosed = "account_closed",
        /// It was ended to make room for a newer one.
        TooManySessions = "too_many_sessions",
        /// A new login in the same browser replaced it.
        Replaced = "replaced",
        /// The database was restored from a backup.
        BackupRestored = "backup_restored",
        /// The client that it belongs to was removed.
        ClientRemoved = "client_removed",
    }
}
