//! What a refresh token means to its session: the whole rule, as one function without I/O.
//!
//! A session stands at a generation c. Of its tokens, c is the one that counts and c − 1 is its
//! parent, whose answer may have been lost on the way. The table that [`decide`] goes through, from
//! the top:
//!
//! | the session | the token | the answer |
//! | --- | --- | --- |
//! | ended, expired, account disabled | any | refused, with the reason |
//! | rotated within the retry window | c or c − 1 | token c again |
//! | else | c | a rotation: token c + 1 |
//! | else | c − 1 with an `Idempotency-Key` of this rotation | token c again; the window opens again, once for each generation |
//! | else, no key is known, neither c nor c − 1 was forgiven | c − 1 | token c again, this once; likewise |
//! | any live one | above c | the database is older than the token: a rotation from there |
//! | any live one | any other | reuse: the session ends |
//!
//! So an honest client that retries is never logged out, and a stolen token is seen at the next use
//! by whoever was left behind. A thief who holds token and key cannot keep the window open: within a
//! generation it opens again once, by a proven retry or by forgiveness. The tests explore every interleaving of a few requests to show it.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::named::named;
use crate::secret::sha256;

/// Keys of one rotation that are remembered: a client with more retries under way at once uses one
/// key for them.
pub const MAX_KEYS: usize = 4;

/// The part of a session's row that the rule goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// The generation of the token that counts.
    pub generation: u32,
    /// When it came to be, or was last answered to a proven retry; never for the first.
    pub rotated_at: Option<Timestamp>,
    /// The keys of the requests that led to it.
    pub retry_keys: Vec<KeyHash>,
    /// The generation whose parent was last answered without proof.
    pub forgiven_generation: Option<u32>,
    /// The generation whose window a proven retry has opened again.
    pub reopened_generation: Option<u32>,
    /// Why the session has ended, if it has.
    pub ended: Option<EndReason>,
    /// When it ends for want of a refresh.
    pub expires_at: Timestamp,
    /// When it ends in any case.
    pub ends_at: Timestamp,
}

/// What is to be done about a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Answer the present token; nothing changes.
    RepeatAnswer,
    /// The same, and remember one more key of this rotation.
    RepeatAnswerAndRemember(Vec<KeyHash>),
    /// Answer the present token and open the window again: a retry that proved itself.
    ProvenRetry,
    /// Answer the present token to a later proven retry of this generation; nothing changes.
    RepeatProvenRetry,
    /// The same without proof, for this generation only.
    ForgiveLostAnswer,
    /// Answer the token of the generation `to`, reached by a request with these keys.
    Rotate {
        /// The new generation.
        to: u32,
        /// None or one.
        keys: Vec<KeyHash>,
        /// Whether the token was newer than the row: commits were lost.
        fast_forward: bool,
    },
    /// A spent token: end the session.
    Reuse,
    /// Nothing: it has ended.
    Ended(EndReason),
    /// Nothing: it has expired.
    Expired,
}

/// What to do when a token of generation `presented` comes in at `now`, with an `Idempotency-Key`
/// or without.
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
    let is_parent = presented.checked_add(1) == Some(current);
    if let Some(reason) = state.ended {
        return Decision::Ended(reason);
    }
    if now >= state.expires_at || now >= state.ends_at || presented == u32::MAX {
        return Decision::Expired;
    }
    if state.in_window(now, window) && (is_current || is_parent) {
        return match key {
            Some(key) if is_parent && state.has_room_for(key) => {
                Decision::RepeatAnswerAndRemember([state.retry_keys.as_slice(), &[key]].concat())
            }
            _ => Decision::RepeatAnswer,
        };
    }
    if is_current || presented > current {
        // A key of the rotation before would later "prove" a retry of a request that was never
        // made.
        let keys = key.into_iter().filter(|key| !state.retry_keys.contains(key)).collect();
        return Decision::Rotate { to: presented + 1, keys, fast_forward: !is_current };
    }
    if is_parent && key.is_some_and(|key| state.retry_keys.contains(&key)) {
        return if state.may_reopen() {
            Decision::ProvenRetry
        } else {
            Decision::RepeatProvenRetry
        };
    }
    if is_parent && !window.is_zero() && state.retry_keys.is_empty() && !state.was_forgiven() {
        return Decision::ForgiveLostAnswer;
    }
    Decision::Reuse
}

/// When a session that is used at `now` expires: never past its absolute end, and never earlier
/// than before.
#[must_use]
pub fn next_expiry(state: &SessionState, now: Timestamp, idle_timeout: Duration) -> Timestamp {
    idle_expiry((state.expires_at, state.ends_at), now, idle_timeout)
}

/// The same by the two ends alone: when the session expires now, and when it ends in any case.
pub(super) fn idle_expiry(
    (expires_at, ends_at): (Timestamp, Timestamp),
    now: Timestamp,
    idle_timeout: Duration,
) -> Timestamp {
    ends_at.min(now.plus(idle_timeout).max(expires_at))
}

impl SessionState {
    /// Half open: at its end it is over. A window of zero is never open, not even to a node whose
    /// clock is behind that of the one which rotated.
    fn in_window(&self, now: Timestamp, window: Duration) -> bool {
        !window.is_zero()
            && self.rotated_at.is_some_and(|rotated_at| {
                // A rotation that lies further ahead was made before this clock was set back.
                now < rotated_at.plus(window) && rotated_at <= now.plus(window)
            })
    }

    fn has_room_for(&self, key: KeyHash) -> bool {
        self.retry_keys.len() < MAX_KEYS && !self.retry_keys.contains(&key)
    }

    /// Once for each generation, by proof or by forgiveness: a thief who has the key too could
    /// otherwise keep the window open, and so the generation where it is.
    fn may_reopen(&self) -> bool {
        let current = Some(self.generation);
        self.reopened_generation != current && self.forgiven_generation != current
    }

    /// Two in a row would let a thief and the owner take turns without end.
    fn was_forgiven(&self) -> bool {
        self.forgiven_generation.is_some_and(|forgiven| {
            forgiven == self.generation || forgiven.checked_add(1) == Some(self.generation)
        })
    }
}

/// An `Idempotency-Key`, hashed: the row must not let its reader retry for the client.
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

    /// Hashes as they stand in a column, one behind the other.
    #[must_use]
    pub fn join(keys: &[Self]) -> Vec<u8> {
        keys.iter().flat_map(|key| key.0).collect()
    }

    /// The reverse.
    #[must_use]
    pub fn split(column: &[u8]) -> Vec<Self> {
        column.as_chunks().0.iter().map(|chunk| Self(*chunk)).collect()
    }
}

named! {
    /// Why a session has ended, for its holder to read.
    pub enum EndReason {
        /// Its holder logged out.
        Logout = "logout",
        /// Its owner ended it from the list.
        EndedByUser = "ended_by_user",
        /// A spent refresh token of it came back.
        RefreshTokenReused = "refresh_token_reused",
        /// The password was changed.
        PasswordChanged = "password_changed",
        /// The account was disabled.
        AccountDisabled = "account_disabled",
        /// The account was closed.
        AccountClosed = "account_closed",
        /// It gave way to a newer one.
        TooManySessions = "too_many_sessions",
        /// A new login in the same browser replaced it.
        Replaced = "replaced",
        /// The database was restored from a backup.
        BackupRestored = "backup_restored",
        /// The client that it belongs to was removed.
        ClientRemoved = "client_removed",
    }
}

impl EndReason {
    /// The reason of this name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }
}
