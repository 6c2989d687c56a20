//! The client and the messages in transit, and their possible next states.

use std::collections::BTreeSet;

use super::{Ending, LateMessages, LateReturn, RetryKeys, Rules, Session, Store};

/// The key of a request, distinct from other keys used with the same token.
pub(super) type Key = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub session: Session,
    pub stored: Message,
    pub requests: Vec<Message>,
    /// The generations in responses.
    pub answers: Vec<u8>,
    /// The generation that the client was last late for.
    pub behind_at: Option<u8>,
}

/// A token and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Message {
    pub generation: u8,
    pub key: Option<Key>,
}

impl World {
    pub(super) fn sends(&self, rules: &Rules, visit: &mut impl FnMut(Self)) {
        let Message { generation, key } = self.stored;
        let is_young = self.requests.iter().any(|request| request.generation < generation);
        if self.requests.len() == rules.in_transit || (rules.is_patient && is_young) {
            return;
        }
        let mut send = |key| {
            let mut after = self.clone();
            after.requests.push(Message { generation, key });
            after.requests.sort_unstable();
            visit(after);
        };
        match rules.keys {
            RetryKeys::None | RetryKeys::PerToken => send(key),
            RetryKeys::PerRequest | RetryKeys::PerRequestAtWill => {
                let is_behind =
                    generation < self.session.generation && !self.session.window_is_open;
                if key.is_some() {
                    send(key);
                }
                let may_draw =
                    key.is_none() || !is_behind || rules.keys == RetryKeys::PerRequestAtWill;
                let fresh = self.fresh_key(generation);
                if may_draw && fresh < rules.keys_of_a_token {
                    send(Some(fresh));
                }
            }
        }
    }

    /// A request arrives and its response is in transit, or it is lost.
    pub(super) fn arrives(
        &self,
        rules: &Rules,
        visit: &mut impl FnMut(Self),
        endings: &mut BTreeSet<Ending>,
    ) {
        for (i, &request) in self.requests.iter().enumerate() {
            let mut lost = self.clone();
            lost.requests.remove(i);
            if self.answers.len() < rules.in_transit {
                let mut after = lost.clone();
                match self.session.refreshed(request, rules) {
                    Err(ending) => {
                        endings.insert(ending);
                    }
                    Ok(session) if session.generation > rules.last_generation => {}
                    Ok(session) => {
                        after.answers.push(session.generation);
                        after.answers.sort_unstable();
                        after.session = session;
                        let per_request =
                            !matches!(rules.keys, RetryKeys::None | RetryKeys::PerToken);
                        if per_request && request.generation == self.stored.generation {
                            after.stored.key = request.key;
                        }
                        visit(after);
                    }
                }
            }
            visit(lost);
        }
    }

    /// A response is stored, or lost.
    pub(super) fn stores(&self, rules: &Rules, visit: &mut impl FnMut(Self)) {
        for (i, &answer) in self.answers.iter().enumerate() {
            let mut lost = self.clone();
            lost.answers.remove(i);
            let stored = self.stored.generation;
            if answer > stored || (answer < stored && rules.store == Store::Last) {
                let mut after = lost.clone();
                let key = (rules.keys == RetryKeys::PerToken).then(|| lost.fresh_key(answer));
                after.stored = Message { generation: answer, key };
                visit(after);
            }
            visit(lost);
        }
    }

    /// The window closes.
    pub(super) fn waits(&self, rules: &Rules, visit: &mut impl FnMut(Self)) {
        let nothing_too_late = match rules.late {
            LateMessages::Nothing => self.requests.is_empty() && self.answers.is_empty(),
            LateMessages::Answers => self.requests.is_empty(),
            LateMessages::Everything => true,
        };
        if !self.session.window_is_open || !nothing_too_late {
            return;
        }
        let current = self.session.generation;
        let mut after = self.clone();
        after.session.window_is_open = false;
        if self.stored.generation < current {
            match rules.behind {
                LateReturn::Never => return,
                LateReturn::NotTwiceInARow if self.behind_at.is_some_and(|at| current < at + 2) => {
                    return;
                }
                LateReturn::NotTwiceInARow => after.behind_at = Some(current),
                LateReturn::AtAnyTime => {}
            }
        }
        visit(after);
    }

    /// A key that was not yet used with this token, as a random one would be.
    fn fresh_key(&self, generation: u8) -> Key {
        let is_taken = |key: &Key| {
            let message = Message { generation, key: Some(*key) };
            let at_server = generation + 1 == self.session.generation;
            self.stored == message
                || self.requests.contains(&message)
                || (at_server && self.session.keys.contains(key))
        };
        (0..=Key::MAX).find(|key| !is_taken(key)).unwrap()
    }
}
