//! A model of two requests for one address, made by an owner and a stranger, with crashes: every
//! order of events is driven through [`decide`].
//!
//! Only the owner reads the mailbox, and only the client that made a request knows its token. A
//! sender may die after any of its steps, and another one continues. Every state within the bounds
//! is visited. No consumption may set a password that the stranger chose, use a request twice, or
//! use a message that was handed over before a change of the account. A message of the owner that
//! should work must work.

use std::collections::{HashSet, VecDeque};

use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_000_000);
const LONG_AGO: Timestamp = Timestamp::from_unix_seconds(0);
const LIFETIMES: Lifetimes =
    Lifetimes { code: Duration::from_secs(600), link: Duration::from_secs(3600) };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Owner,
    Stranger,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// The account's version and the owner of its password; `None` while there is no account.
    account: Option<(i64, Who)>,
    requests: Vec<Request>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    by: Who,
    state: RequestState,
    /// Whether the sender has chosen a message.
    is_chosen: bool,
    delivered: Delivery,
}

/// Whether the message has reached the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Delivery {
    Pending,
    /// The account's version at the first delivery, if there was an account.
    DeliveredAt(Option<i64>),
}

#[derive(Clone, Copy, Debug)]
enum Event {
    NewMailRequest(Who),
    Choose(usize),
    /// A sender takes a lease: from now on the message may be in the mailbox.
    Claim(usize),
    /// The mail server accepts the message; the sender may die before it stores that.
    Deliver(usize),
    Link(usize),
    Code(usize),
    WrongCodes(usize),
    ChangePassword,
    TimePasses,
}

impl World {
    fn version(&self) -> Option<i64> {
        self.account.map(|(version, _)| version)
    }

    fn account_state(&self) -> AccountState {
        self.version().map_or(AccountState::None, |version| AccountState::Good { version })
    }

    fn events(&self, purpose: MailPurpose) -> Vec<Event> {
        let mut events = vec![Event::TimePasses];
        if self.requests.len() < 2 {
            events
                .extend([Event::NewMailRequest(Who::Owner), Event::NewMailRequest(Who::Stranger)]);
        }
        if self.version().is_some_and(|version| version < 2) {
            events.push(Event::ChangePassword);
        }
        for (i, request) in self.requests.iter().enumerate() {
            events.push(Event::Choose(i));
            events.push(Event::Claim(i));
            events.push(Event::Deliver(i));
            // A registration has no link.
            if request.delivered != Delivery::Pending && purpose == MailPurpose::Reset {
                events.push(Event::Link(i));
            }
            // A code needs the client of its request and the mailbox: only the owner has both.
            if request.delivered != Delivery::Pending && request.by == Who::Owner {
                events.push(Event::Code(i));
            }
            events.push(Event::WrongCodes(i));
        }
        events
    }

    fn after(&self, event: Event, purpose: MailPurpose) -> Self {
        let mut next = self.clone();
        match event {
            Event::NewMailRequest(by) => next.requests.push(Request {
                by,
                state: RequestState {
                    purpose,
                    is_used: false,
                    code_attempts: 0,
                    mailed_at: None,
                    version: None,
                    invited_until: None,
                },
                is_chosen: false,
                delivered: Delivery::Pending,
            }),
            Event::Choose(i) => {
                let is_new = purpose == MailPurpose::Reset || self.account.is_none();
                let request = &mut next.requests[i];
                if is_new && !request.is_chosen && !request.state.is_used {
                    request.is_chosen = true;
                    request.state.version = self.version();
                }
            }
            Event::Claim(i) => {
                let request = &mut next.requests[i];
                let is_current = request.state.version == self.version();
                if request.is_chosen && is_current && !request.state.is_used {
                    request.state.mailed_at = Some(NOW);
                }
            }
            Event::Deliver(i) => {
                let request = &mut next.requests[i];
                if request.state.mailed_at.is_some() && request.delivered == Delivery::Pending {
                    request.delivered = Delivery::DeliveredAt(self.version());
                }
            }
            Event::Link(i) => next.show(i, MailProof::Link, purpose),
            Event::Code(i) => next.show(i, MailProof::RightCode, purpose),
            Event::WrongCodes(i) => next.guess(i, purpose),
            Event::ChangePassword => {
                next.account = self.account.map(|(version, who)| (version + 1, who));
            }
            Event::TimePasses => {
                for request in &mut next.requests {
                    request.state.mailed_at = request.state.mailed_at.map(|_| LONG_AGO);
                }
            }
        }
        next
    }

    /// Guesses until no further code is accepted.
    fn guess(&mut self, i: usize, purpose: MailPurpose) {
        for _ in 0..=WRONG_CODES {
            self.show(i, MailProof::WrongCode, purpose);
        }
    }

    /// Applies the decision, as one unit of work.
    fn show(&mut self, i: usize, proof: MailProof, purpose: MailPurpose) {
        let (request, account) = (self.requests[i].clone(), self.account_state());
        match decide(&request.state, purpose, proof, account, NOW, LIFETIMES) {
            MailDecision::Reject => {}
            MailDecision::CountWrongCode => self.requests[i].state.code_attempts += 1,
            MailDecision::Consume => {
                assert_ne!(proof, MailProof::WrongCode, "{self:?}");
                assert!(!request.state.is_used, "used twice: {self:?}");
                let current = Delivery::DeliveredAt(self.version());
                assert_eq!(request.delivered, current, "older than a change: {self:?}");
                // The owner opens a link and chooses the password; with a code, the client that
                // made the request chooses it.
                let by = if proof == MailProof::Link { Who::Owner } else { request.by };
                self.account = Some((self.version().map_or(0, |version| version + 1), by));
                for request in &mut self.requests {
                    request.state.is_used = true;
                }
            }
        }
    }

    /// Checks the invariants of every state.
    fn check(&self, purpose: MailPurpose) {
        assert!(self.account.is_none_or(|(_, who)| who == Who::Owner), "a takeover: {self:?}");
        for request in &self.requests {
            let is_fresh = request.state.mailed_at == Some(NOW);
            // A message that was in transit while the password changed is no longer valid.
            let is_as_sent = request.delivered == Delivery::DeliveredAt(self.version())
                && request.state.version == self.version();
            let is_needed = purpose == MailPurpose::Reset || self.account.is_none();
            if !(is_fresh && is_as_sent && is_needed) || request.state.is_used {
                continue;
            }
            let account = self.account_state();
            let answer = |proof| decide(&request.state, purpose, proof, account, NOW, LIFETIMES);
            if purpose == MailPurpose::Reset {
                assert_eq!(answer(MailProof::Link), MailDecision::Consume, "burnt: {self:?}");
            }
            // Only the request's own client can have typed wrong codes.
            if request.by == Who::Owner && request.state.code_attempts < WRONG_CODES {
                assert_eq!(answer(MailProof::RightCode), MailDecision::Consume, "burnt: {self:?}");
            }
        }
    }
}

/// Visits every state, and returns how many there are and how many consumptions succeeded.
fn explore(purpose: MailPurpose) -> (usize, usize) {
    let account = (purpose == MailPurpose::Reset).then_some((0, Who::Owner));
    let start = World { account, requests: Vec::new() };
    let mut seen = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([start]);
    let mut consumed = 0;
    while let Some(world) = queue.pop_front() {
        world.check(purpose);
        for event in world.events(purpose) {
            let next = world.after(event, purpose);
            consumed += usize::from(next.account != world.account);
            if seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
        assert!(seen.len() < 2_000_000, "the bounds are too wide");
    }
    (seen.len(), consumed)
}

#[test]
fn no_order_of_resets_lets_a_stranger_in_or_keeps_the_owner_out() {
    let (states, consumed) = explore(MailPurpose::Reset);
    assert!(states > 10_000 && consumed > 1000, "{states} states, {consumed} consumptions");
}

#[test]
fn no_order_of_registrations_gives_a_stranger_the_account() {
    let (states, consumed) = explore(MailPurpose::Registration);
    assert!(states > 1000 && consumed > 100, "{states} states, {consumed} consumptions");
}

#[test]
fn an_invitation_is_accepted_by_its_link_until_it_expires_or_the_account_has_a_password() {
    let purposes = [MailPurpose::Invitation, MailPurpose::Reset];
    let states = [
        AccountState::None,
        AccountState::Good { version: 1 },
        AccountState::Invited { has_address: true },
        AccountState::Invited { has_address: false },
        AccountState::Barred,
    ];
    let proofs = [MailProof::Link, MailProof::RightCode, MailProof::WrongCode];
    for (purpose, wanted) in purposes.into_iter().flat_map(|one| purposes.map(|two| (one, two))) {
        for (account, proof) in states.into_iter().flat_map(|it| proofs.map(|proof| (it, proof))) {
            for (is_used, until) in [(false, NOW), (false, NOW.plus(LIFETIMES.link)), (true, NOW)] {
                for mailed_at in [None, Some(NOW)] {
                    let (code_attempts, version) = (WRONG_CODES, Some(1));
                    let request = RequestState {
                        purpose,
                        is_used,
                        code_attempts,
                        mailed_at,
                        version,
                        invited_until: Some(until),
                    };
                    let decision = decide(&request, wanted, proof, account, NOW, LIFETIMES);
                    let may = purpose == wanted
                        && !is_used
                        && until > NOW
                        && proof == MailProof::Link
                        && account == AccountState::Invited { has_address: true };
                    assert_eq!(decision == MailDecision::Consume, may, "{request:?} {account:?}");
                }
            }
        }
    }
    // And no other message sets a first password.
    let reset = RequestState {
        purpose: MailPurpose::Reset,
        is_used: false,
        code_attempts: 0,
        mailed_at: Some(NOW),
        version: Some(1),
        invited_until: None,
    };
    for proof in [MailProof::Link, MailProof::RightCode] {
        let (wanted, account) = (MailPurpose::Reset, AccountState::Invited { has_address: true });
        let decision = decide(&reset, wanted, proof, account, NOW, LIFETIMES);
        assert_eq!(decision, MailDecision::Reject);
    }
}
