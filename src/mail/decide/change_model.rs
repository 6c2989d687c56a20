//! A model of changes of address: an owner and a stranger, each with an account, request that it
//! gets one address, whose mailbox only the owner reads. Every order of their requests, of the
//! sender's steps and of its crashes is driven through [`decide`].
//!
//! The stranger's account must never get the address. No consumption may use a request twice, use
//! it for another purpose, or use a message that was requested before a change of its account. A
//! code of the owner that should work must work.

use std::collections::{HashSet, VecDeque};

use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_000_000);
const LONG_AGO: Timestamp = Timestamp::from_unix_seconds(0);
const LIFETIMES: Lifetimes =
    Lifetimes { code: Duration::from_secs(600), link: Duration::from_secs(3600) };
const WANTED: MailPurpose = MailPurpose::EmailChange;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Owner,
    Stranger,
}

const BOTH: [Who; 2] = [Who::Owner, Who::Stranger];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// The versions of the accounts of the owner and the stranger.
    versions: [i64; 2],
    /// The account that has the address.
    holder: Option<Who>,
    requests: Vec<Request>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    by: Who,
    state: RequestState,
    /// Whether the sender has chosen a message, and whether it has a code.
    chosen: Option<bool>,
    is_delivered: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    NewMailRequest(Who),
    Choose(usize),
    /// A sender takes a lease: from now on the message may be in the mailbox.
    Claim(usize),
    /// The mail server accepts the message; the sender may die before it stores that.
    Deliver(usize),
    Code(usize),
    WrongCodes(usize),
    ChangePassword(Who),
    TimePasses,
}

impl World {
    const fn version(&self, who: Who) -> i64 {
        self.versions[who as usize]
    }

    fn events(&self) -> Vec<Event> {
        let mut events = vec![Event::TimePasses];
        if self.requests.len() < 3 {
            events.extend(BOTH.map(Event::NewMailRequest));
        }
        events.extend(
            BOTH.into_iter().filter(|who| self.version(*who) < 1).map(Event::ChangePassword),
        );
        for (i, request) in self.requests.iter().enumerate() {
            events.extend([Event::Choose(i), Event::Claim(i), Event::Deliver(i)]);
            // A code needs the client of its request and the mailbox: only the owner has both.
            if request.is_delivered && request.by == Who::Owner {
                events.push(Event::Code(i));
            }
            events.push(Event::WrongCodes(i));
        }
        events
    }

    fn after(&self, event: Event) -> Self {
        let mut next = self.clone();
        match event {
            Event::NewMailRequest(by) => next.requests.push(Request {
                by,
                state: RequestState {
                    purpose: WANTED,
                    is_used: false,
                    code_attempts: 0,
                    mailed_at: None,
                    version: Some(self.version(by)),
                    invited_until: None,
                },
                chosen: None,
                is_delivered: false,
            }),
            Event::Choose(i) => {
                let request = &mut next.requests[i];
                // The owner of a taken address gets another message.
                let is_free = self.holder.is_none_or(|holder| holder == request.by);
                if !request.state.is_used {
                    request.chosen.get_or_insert(is_free);
                }
            }
            Event::Claim(i) => {
                let request = &mut next.requests[i];
                let is_current = request.state.version == Some(self.version(request.by));
                if request.chosen == Some(true) && is_current && !request.state.is_used {
                    request.state.mailed_at = Some(NOW);
                }
            }
            Event::Deliver(i) => {
                let request = &mut next.requests[i];
                request.is_delivered |= request.state.mailed_at.is_some();
            }
            Event::Code(i) => next.show(i, MailProof::RightCode),
            Event::WrongCodes(i) => {
                for _ in 0..=WRONG_CODES {
                    next.show(i, MailProof::WrongCode);
                }
            }
            Event::ChangePassword(who) => next.versions[who as usize] += 1,
            Event::TimePasses => {
                for request in &mut next.requests {
                    request.state.mailed_at = request.state.mailed_at.map(|_| LONG_AGO);
                }
            }
        }
        next
    }

    fn decision(&self, request: &Request, wanted: MailPurpose, proof: MailProof) -> MailDecision {
        let account = AccountState::Good { version: self.version(request.by) };
        decide(&request.state, wanted, proof, account, NOW, LIFETIMES)
    }

    /// Applies the decision, as one unit of work.
    fn show(&mut self, i: usize, proof: MailProof) {
        let request = self.requests[i].clone();
        match self.decision(&request, WANTED, proof) {
            MailDecision::Reject => {}
            MailDecision::CountWrongCode => self.requests[i].state.code_attempts += 1,
            // The constraint of the table: the address is another account's.
            MailDecision::Consume if self.holder.is_some_and(|holder| holder != request.by) => {}
            MailDecision::Consume => {
                assert_ne!(proof, MailProof::WrongCode, "{self:?}");
                assert!(!request.state.is_used && request.is_delivered, "{self:?}");
                let version = self.version(request.by);
                assert_eq!(request.state.version, Some(version), "older than a change: {self:?}");
                self.holder = Some(request.by);
                self.versions[request.by as usize] += 1;
                // Those of the other account, too.
                for request in &mut self.requests {
                    request.state.is_used = true;
                }
            }
        }
    }

    /// Checks the invariants of every state.
    fn check(&self) {
        assert_ne!(self.holder, Some(Who::Stranger), "a takeover: {self:?}");
        for request in &self.requests {
            for other in [MailPurpose::Registration, MailPurpose::Reset, MailPurpose::Notice] {
                for proof in [MailProof::Link, MailProof::RightCode] {
                    let decision = self.decision(request, other, proof);
                    assert_eq!(decision, MailDecision::Reject, "{other:?}: {self:?}");
                }
            }
            let is_current = request.state.version == Some(self.version(request.by));
            let is_fresh = request.state.mailed_at == Some(NOW) && request.is_delivered;
            if request.by == Who::Owner
                && is_current
                && is_fresh
                && !request.state.is_used
                && request.state.code_attempts < WRONG_CODES
            {
                let decision = self.decision(request, WANTED, MailProof::RightCode);
                assert_eq!(decision, MailDecision::Consume, "burnt: {self:?}");
            }
        }
    }
}

#[test]
fn no_order_of_changes_gives_a_stranger_the_address_or_keeps_the_owner_from_it() {
    let start = World { versions: [0, 0], holder: None, requests: Vec::new() };
    let mut seen = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([start]);
    let mut consumed = 0;
    while let Some(world) = queue.pop_front() {
        world.check();
        for event in world.events() {
            let next = world.after(event);
            consumed += usize::from(next.holder != world.holder);
            if seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
        assert!(seen.len() < 2_000_000, "the bounds are too wide");
    }
    let states = seen.len();
    assert!(states > 10_000 && consumed > 1000, "{states} states, {consumed} consumptions");
}
