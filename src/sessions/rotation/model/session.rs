//! The session, as far as the rule depends on it.

use super::{Decision, FAR, Key, KeyHash, Message, ROTATED, Rules, SessionState, decide};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub generation: u8,
    pub window_is_open: bool,
    /// All of them came with the predecessor.
    pub keys: Vec<Key>,
    pub forgiven: Option<u8>,
    pub reopened: Option<u8>,
}

/// The cause of a session's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// A token at least two generations old.
    TooOld,
    /// The predecessor, without the key that would have proved it.
    Unproven,
    /// The predecessor, without keys, where it or the generation before had been forgiven.
    ForgivenBefore,
}

impl Session {
    pub(super) fn at(generation: u8) -> Self {
        let (keys, forgiven, reopened) = (Vec::new(), None, None);
        Self { generation, window_is_open: false, keys, forgiven, reopened }
    }

    /// Applies a request to the session, by the rule itself. The response is the resulting
    /// generation.
    pub(super) fn refreshed(&self, request: Message, rules: &Rules) -> Result<Self, Ending> {
        let hash = |key: Key| KeyHash::of(&[request.generation, key]);
        let parent_hash = |key: Key| KeyHash::of(&[self.generation.wrapping_sub(1), key]);
        let state = SessionState {
            generation: self.generation.into(),
            rotated_at: (self.generation > 0).then_some(ROTATED),
            retry_keys: self.keys.iter().copied().map(parent_hash).collect(),
            forgiven_generation: self.forgiven.map(u32::from),
            reopened_generation: self.reopened.map(u32::from),
            ended: None,
            expires_at: FAR,
            ends_at: FAR,
        };
        let now = if self.window_is_open { ROTATED } else { ROTATED.plus(rules.window) };
        let key = request.key.map(hash);
        let mut after = self.clone();
        match decide(&state, request.generation.into(), key, now, rules.window) {
            Decision::RepeatResponse | Decision::RepeatProvenRetry => {}
            Decision::RepeatResponseAndStoreKey(keys) => {
                assert_eq!(keys.split_last(), Some((&key.unwrap(), &*state.retry_keys)));
                after.keys.extend(request.key);
                after.keys.sort_unstable();
            }
            Decision::ProvenRetry => {
                after.window_is_open = true;
                after.reopened = Some(self.generation);
            }
            Decision::ForgiveLostResponse => {
                after.window_is_open = true;
                after.forgiven = Some(self.generation);
            }
            Decision::Rotate { to, keys, fast_forward } => {
                assert!(!fast_forward, "no token is newer than the session");
                assert_eq!(to, u32::from(self.generation) + 1, "there is one lineage");
                after.generation += 1;
                after.window_is_open = true;
                after.keys = if keys.is_empty() { Vec::new() } else { Vec::from_iter(request.key) };
            }
            Decision::Reuse => {
                return Err(if request.generation + 1 < self.generation {
                    Ending::TooOld
                } else if self.forgiven.is_some() && self.keys.is_empty() {
                    Ending::ForgivenBefore
                } else {
                    Ending::Unproven
                });
            }
            step @ (Decision::Ended(_) | Decision::Expired) => {
                panic!("a live session was {step:?}")
            }
        }
        Ok(after)
    }
}
