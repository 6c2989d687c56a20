//! The other events of a walk: lost answers, time, restarts, logouts.

use std::time::Duration;

use doorward::clock::Timestamp;

use crate::support::until;

use super::Walk;

const MICROSECOND: Duration = Duration::from_micros(1);

impl Walk {
    /// A response arrives, early or late, or never.
    pub fn store(&mut self) {
        let Some(at) = self.dice.index(self.answers.len()) else { return };
        let (generation, by_thief) = self.answers.swap_remove(at);
        let held = &mut self.held[usize::from(by_thief)];
        let is_lost = self.dice.below(5) == 0;
        // Sometimes a tab stores an older token over a newer one.
        let may_be_older = !self.is_careful && self.dice.below(8) == 0;
        if !is_lost && (generation > held.0 || may_be_older) {
            self.next_key += 1;
            let has_key = self.is_careful || self.dice.below(2) == 0;
            let key = has_key.then_some(self.next_key);
            *held = (generation, key);
        }
    }

    pub fn wait(&mut self) {
        if self.is_careful || self.dice.below(2) == 0 {
            // No message arrives that late.
            self.requests.clear();
            self.answers.clear();
        }
        let now = self.now();
        let session = &self.may_be[0];
        let until = |moment: Timestamp| moment.since(now);
        let window_ends =
            session.opened_at.map_or(Duration::ZERO, |it| until(it.plus(self.window)));
        let by = match self.dice.below(12) {
            0 => MICROSECOND,
            1 => Duration::from_secs(1),
            2 | 3 => window_ends,
            4 => window_ends.saturating_sub(MICROSECOND),
            5..8 => self.window + MICROSECOND,
            8 => Duration::from_secs(300),
            9 => Duration::from_secs(1200),
            10 if self.dice.below(4) == 0 => until(session.expires_at),
            11 if self.dice.below(4) == 0 => until(session.expires_at).saturating_sub(MICROSECOND),
            _ => self.window / 2,
        };
        self.nodes[0].clock.advance(by);
        self.log.push(format!("{by:?} go by"));
    }

    /// An access token ends with its session, on every node.
    pub async fn look_at_access(&mut self) {
        if self.may_be.len() > 1 {
            return;
        }
        let ended = self.may_be[0].ended.is_some();
        for node in &self.nodes {
            let refused = async || match node.me(&self.access).await.body["code"].as_str() {
                // It has expired, so its revocation is not checked.
                Some("token_expired") => ended,
                code => code == Some("token_revoked"),
            };
            if ended {
                // Another node learns of it within a second.
                until(&refused).await;
            } else {
                assert!(!refused().await, "{}", self.log.join("\n"));
            }
        }
    }

    pub async fn restart(&mut self) {
        // It takes some time, so not in every walk.
        if self.dice.below(4) == 0 {
            let at = self.dice.below(self.nodes.len());
            let node = self.nodes.swap_remove(at).restart().await;
            self.nodes.push(node);
            self.log.push("a restart".into());
        }
    }

    pub async fn log_out(&mut self) {
        if self.may_be.len() > 1 || self.dice.below(2) == 0 {
            return;
        }
        let answer = self.nodes[0].post("/logout").bearer(&self.access).send().await;
        if answer.status == 204 && self.may_be[0].ended.is_none() {
            self.may_be[0].ended = Some("logout");
        }
        self.log.push(format!("a logout: {}", answer.status));
    }
}
