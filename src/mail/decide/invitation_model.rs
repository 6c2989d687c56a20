//! A model of an invited account whose address an operator corrects. Every order of requests, of
//! the sender's steps and of the change is driven through [`decide`].
//!
//! The sender reads the account and stores its choice in two steps, and the change deletes the
//! account's requests and commits in two steps: on PostgreSQL the sender may read the former address
//! until the commit, and choose and send messages that were not deleted. No link may open the account that was sent to another address than the account has.
//! A link to the present address must work, also after a change of roles.

use std::collections::{HashSet, VecDeque};

use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_000_000);
const LIFETIMES: Lifetimes =
    Lifetimes { code: Duration::from_secs(600), link: Duration::from_secs(3600) };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Address {
    Mistyped,
    Corrected,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    address: Address,
    /// Whether a correction has deleted requests and is not committed.
    is_being_corrected: bool,
    has_password: bool,
    /// Raised by changes of roles, too.
    version: i64,
    requests: Vec<Request>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    /// The address in the request.
    to: Address,
    state: RequestState,
    /// The account's version, as the sender has read it with its address.
    read: Option<i64>,
    is_chosen: bool,
    is_delivered: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    NewMailRequest(Address),
    Read(usize),
    Choose(usize),
    /// A sender takes a lease: from now on the message may be in the mailbox.
    Claim(usize),
    Deliver(usize),
    Link(usize),
    ChangeRoles,
    DeleteRequests,
    CorrectAddress,
}

impl World {
    fn events(&self) -> Vec<Event> {
        let mut events = vec![Event::DeleteRequests, Event::CorrectAddress];
        if self.requests.len() < 2 {
            events.extend([Address::Mistyped, Address::Corrected].map(Event::NewMailRequest));
        }
        if self.version < 2 {
            events.push(Event::ChangeRoles);
        }
        for (i, request) in self.requests.iter().enumerate() {
            events.extend([Event::Read(i), Event::Choose(i), Event::Claim(i), Event::Deliver(i)]);
            if request.is_delivered {
                events.push(Event::Link(i));
            }
        }
        events
    }

    fn after(&self, event: Event) -> Self {
        let mut next = self.clone();
        match event {
            Event::NewMailRequest(to) => next.requests.push(new_request(to)),
            Event::Read(i) => {
                let request = &mut next.requests[i];
                if !request.is_chosen && !self.has_password && request.to == self.address {
                    request.read.get_or_insert(self.version);
                }
            }
            Event::Choose(i) => {
                let request = &mut next.requests[i];
                if let Some(version) = request.read {
                    request.is_chosen = true;
                    request.state.version = Some(version);
                    request.state.invited_until = Some(NOW.plus(LIFETIMES.link));
                }
            }
            Event::Claim(i) => {
                let is_valid = !self.has_password && self.requests[i].to == self.address;
                let request = &mut next.requests[i];
                if request.is_chosen && is_valid && !request.state.is_used {
                    request.state.mailed_at = Some(NOW);
                }
            }
            Event::Deliver(i) => {
                let request = &mut next.requests[i];
                request.is_delivered |= request.state.mailed_at.is_some();
            }
            Event::Link(i) => next.open(i),
            Event::ChangeRoles => next.version += 1,
            Event::DeleteRequests => {
                next.is_being_corrected = self.address == Address::Mistyped;
                // Those that are chosen belong to the account.
                next.requests.retain(|request| !request.is_chosen || !next.is_being_corrected);
            }
            Event::CorrectAddress if self.is_being_corrected => {
                next.address = Address::Corrected;
                next.is_being_corrected = false;
                next.version += 1;
            }
            Event::CorrectAddress => {}
        }
        next
    }

    fn decision(&self, request: &Request) -> MailDecision {
        let account = if self.has_password {
            AccountState::Good { version: self.version }
        } else {
            AccountState::Invited { has_address: request.to == self.address }
        };
        decide(&request.state, MailPurpose::Reset, MailProof::Link, account, NOW, LIFETIMES)
    }

    fn open(&mut self, i: usize) {
        if self.decision(&self.requests[i]) == MailDecision::Consume {
            assert_eq!(self.requests[i].to, self.address, "a takeover: {self:?}");
            assert!(!self.has_password, "a second first password: {self:?}");
            self.has_password = true;
            self.requests[i].state.is_used = true;
        }
    }

    /// Checks that a link in the mailbox of the account's address works.
    fn check(&self) {
        for request in &self.requests {
            if request.is_delivered && request.to == self.address && !self.has_password {
                assert_eq!(self.decision(request), MailDecision::Consume, "burnt: {self:?}");
            }
        }
    }
}

fn new_request(to: Address) -> Request {
    let state = RequestState {
        purpose: MailPurpose::Reset,
        is_used: false,
        code_attempts: 0,
        mailed_at: None,
        version: None,
        invited_until: None,
    };
    Request { to, state, read: None, is_chosen: false, is_delivered: false }
}

#[test]
fn no_order_of_events_opens_an_invited_account_to_its_former_address() {
    let start = World {
        address: Address::Mistyped,
        is_being_corrected: false,
        has_password: false,
        version: 0,
        requests: Vec::new(),
    };
    let mut seen = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([start]);
    let mut consumed = 0;
    while let Some(world) = queue.pop_front() {
        world.check();
        for event in world.events() {
            let next = world.after(event);
            consumed += usize::from(next.has_password != world.has_password);
            if seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
        assert!(seen.len() < 2_000_000, "the bounds are too wide");
    }
    let states = seen.len();
    assert!(states > 1000 && consumed > 100, "{states} states, {consumed} consumptions");
}
