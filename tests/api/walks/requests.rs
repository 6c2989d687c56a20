//! The refreshes of a walk: sent, and answered as the table says, one or two at a time.

use serde_json::json;

use crate::support::{Answer, Tokens};

use super::table::Session;
use super::{Message, Walk};

impl Walk {
    pub fn send(&mut self) {
        let is_busy = !self.requests.is_empty() || !self.answers.is_empty();
        if self.is_careful && self.window.is_zero() && is_busy {
            return;
        }
        let by_thief = !self.is_careful && self.dice.below(6) == 0;
        let (generation, stored_key) = self.held[usize::from(by_thief)];
        // No request is in transit for longer than the window, in which no fresh token is
        // refreshed.
        if self.is_careful && self.requests.iter().any(|it| it.generation < generation) {
            return;
        }
        let key = match self.dice.below(4) {
            _ if self.is_careful => stored_key,
            _ if self.has_no_keys => None,
            0 => None,
            1 => {
                self.next_key += 1;
                Some(self.next_key)
            }
            _ => stored_key,
        };
        self.requests.push(Message { generation, key, by_thief });
    }

    pub async fn deliver(&mut self, again: bool) {
        let Some(at) = self.dice.index(self.requests.len()) else { return };
        let message = if again { self.requests[at] } else { self.requests.swap_remove(at) };
        let node = self.dice.below(self.nodes.len());
        let before = self.counts();
        let answer = self.ask(message, node).await;
        let kinds = self.counted_since(&before);
        let now = self.now();
        let said = self.hear(message, &answer);
        let mut can_be = Vec::new();
        let mut expected = Vec::new();
        for mut session in std::mem::take(&mut self.may_be) {
            let table = session.asked(message, now, self.window);
            if kinds == [table.0] && said == table.1 {
                can_be.push(session);
            }
            expected.push(table);
        }
        self.settle(can_be, &format!("{message:?}: {kinds:?} {said:?}"), &format!("{expected:?}"));
    }

    /// Two concurrent requests: one of the two orders applies.
    pub async fn deliver_two(&mut self) {
        if self.requests.len() < 2 {
            return;
        }
        let at = self.dice.below(self.requests.len());
        let one = self.requests.swap_remove(at);
        let at = self.dice.below(self.requests.len());
        let other = self.requests.swap_remove(at);
        let nodes = [self.dice.below(self.nodes.len()), self.dice.below(self.nodes.len())];
        let before = self.counts();
        let (first, second) = tokio::join!(self.ask(one, nodes[0]), self.ask(other, nodes[1]));
        let kinds = self.counted_since(&before);
        let now = self.now();
        let said = [self.hear(one, &first), self.hear(other, &second)];
        let mut can_be = Vec::new();
        let mut expected = Vec::new();
        for session in std::mem::take(&mut self.may_be) {
            for one_first in [true, false] {
                let mut session = session.clone();
                let mut ask = |message| session.asked(message, now, self.window);
                let (one, other) = if one_first {
                    let one = ask(one);
                    (one, ask(other))
                } else {
                    let other = ask(other);
                    (ask(one), other)
                };
                let mut table = [one.0, other.0];
                table.sort_unstable();
                if kinds == table && said == [one.1.clone(), other.1.clone()] {
                    can_be.push(session);
                }
                expected.push((one, other));
            }
        }
        can_be.dedup();
        let what = format!("at once {one:?}, {other:?}: {kinds:?} {said:?}");
        self.settle(can_be, &what, &format!("{expected:?}"));
    }

    pub fn settle(&mut self, can_be: Vec<Session>, what: &str, expected: &str) {
        self.log.push(what.to_owned());
        assert!(
            !can_be.is_empty(),
            "the table says {expected}; the walk:\n{}",
            self.log.join("\n")
        );
        self.may_be = can_be;
        let is_theft = self.may_be.iter().any(|it| it.ended == Some("refresh_token_reused"));
        assert!(!(self.is_careful && is_theft), "an honest end:\n{}", self.log.join("\n"));
    }

    pub async fn ask(&self, message: Message, node: usize) -> Answer {
        let token = &self.tokens[usize::try_from(message.generation).unwrap()];
        let call = self.nodes[node].post("/refresh").json(&json!({ "refresh_token": token }));
        match message.key {
            Some(key) => call.header("idempotency-key", &format!("key-of-a-walk-{key:06}")),
            None => call,
        }
        .send()
        .await
    }

    /// Evaluates a response; its tokens are sent on to the requester.
    pub fn hear(&mut self, message: Message, answer: &Answer) -> Result<u64, String> {
        // The key of a request that arrived is the one to send again.
        let held = &mut self.held[usize::from(message.by_thief)];
        if held.0 == message.generation && message.key.is_some() {
            held.1 = message.key;
        }
        if answer.status != 200 {
            let answer = answer.clone().assert_problem(401, "invalid_grant");
            return Err(answer.body["reason"].as_str().unwrap().to_owned());
        }
        let Tokens { generation, refresh, access, .. } = answer.clone().tokens();
        let at = usize::try_from(generation).unwrap();
        match self.tokens.get(at) {
            Some(known) => assert_eq!(*known, refresh, "a generation has one token"),
            None => self.tokens.push(refresh),
        }
        assert!(
            self.tokens.len() > at,
            "generation {generation} comes after {}",
            self.tokens.len()
        );
        self.access = access;
        self.answers.push((generation, message.by_thief));
        Ok(generation)
    }
}
