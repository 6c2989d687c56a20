//! The table of answers to a refresh, as a model of one session.

use std::time::Duration;

use doorward::clock::Timestamp;

use super::{Message, SLIDING};

/// The number of stored keys of a rotation.
const KEYS: usize = 4;

/// The service's knowledge of a session, as far as the table uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub generation: u64,
    pub opened_at: Option<Timestamp>,
    pub keys: Vec<u64>,
    pub forgiven: Option<u64>,
    pub reopened: Option<u64>,
    pub ended: Option<&'static str>,
    pub expires_at: Timestamp,
    pub ends_at: Timestamp,
}

/// The kind of a response, in the words of the metrics, and its generation or reason.
type Said = (&'static str, Result<u64, String>);

impl Session {
    /// The table, from the top.
    pub fn asked(&mut self, message: Message, now: Timestamp, window: Duration) -> Said {
        let Message { generation, key, .. } = message;
        let refused = |kind, reason: &str| (kind, Err(reason.to_owned()));
        if let Some(reason) = self.ended {
            return refused("ended", reason);
        }
        if now >= self.expires_at || now >= self.ends_at {
            return refused("expired", "expired");
        }
        let (is_current, is_predecessor) =
            (generation == self.generation, generation + 1 == self.generation);
        let is_open = self.opened_at.is_some_and(|opened| now < opened.plus(window));
        if is_open && (is_current || is_predecessor) {
            let is_new = key.is_some_and(|key| !self.keys.contains(&key));
            if is_predecessor && is_new && self.keys.len() < KEYS {
                self.keys.extend(key);
            }
            return ("concurrent_replay", Ok(self.generation));
        }
        let kind = if is_current {
            self.generation += 1;
            self.keys = key.into_iter().filter(|key| !self.keys.contains(key)).collect();
            "rotated"
        } else if is_predecessor && key.is_some_and(|key| self.keys.contains(&key)) {
            let current = Some(self.generation);
            if self.reopened == current || self.forgiven == current {
                return ("proven_retry", Ok(self.generation));
            }
            self.reopened = current;
            "proven_retry"
        } else if is_predecessor
            && !window.is_zero()
            && self.keys.is_empty()
            && !self.was_forgiven()
        {
            self.forgiven = Some(self.generation);
            "forgiven"
        } else {
            self.ended = Some("refresh_token_reused");
            return refused("reuse_ended", "refresh_token_reused");
        };
        self.opened_at = Some(now);
        self.expires_at = self.ends_at.min(now.plus(SLIDING).max(self.expires_at));
        (kind, Ok(self.generation))
    }

    /// This generation or the one before.
    pub fn was_forgiven(&self) -> bool {
        self.forgiven.is_some_and(|it| it == self.generation || it + 1 == self.generation)
    }
}
