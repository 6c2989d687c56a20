//! The rule for mail requests: whether a link or a code is accepted. No I/O.
//!
//! | the request | a link, or the right code | a wrong code |
//! | --- | --- | --- |
//! | used, or of another purpose | rejected | rejected |
//! | no message was sent for it, or not yet | rejected | counted |
//! | handed over, but the link or the code has expired | rejected | counted |
//! | handed over; a code after five wrong ones | rejected | rejected |
//! | handed over; the account has changed since | rejected | counted |
//! | handed over, the account unchanged | **consumed** | counted |
//! | an invitation, expired; the account has a password or another address | rejected | counted |
//! | an invitation, not expired; the account has neither | **consumed** | counted |
//!
//! Five wrong codes end the code, but not the link: a stranger who requested the reset of somebody
//! else's password has the token of the request, and could otherwise make the owner's message
//! useless. Wrong codes are counted alike whether or not an account exists, so the limit does not
//! tell.
//!
//! An invitation does not depend on the version of the account: a change of its roles leaves the
//! link valid. It depends on the address instead. Nobody has proven that the invited person reads
//! it, so an operator may correct it, and the link that went to the former address must not open
//! the account.
//!
//! The row or the account may change between reading and writing. So the statement that consumes a
//! request repeats in its `WHERE` the purpose, that it is not used, the limit of wrong codes and
//! the expiry of the row. The version is compared by the unit of work that changes the account
//! (`accounts`).

use std::time::Duration;

use super::MailPurpose;
use crate::clock::Timestamp;

#[cfg(test)]
mod change_model;
#[cfg(test)]
mod invitation_model;
#[cfg(test)]
mod model;

/// The number of wrong codes after which a request accepts none.
pub const WRONG_CODES: u32 = 5;

/// The part of a request's row that the rule depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestState {
    /// Its purpose.
    pub purpose: MailPurpose,
    /// Whether it was used.
    pub is_used: bool,
    /// Wrong codes so far.
    pub code_attempts: u32,
    /// When the mail server accepted the message or, if its answer was lost, the latest moment at
    /// which it may have done so. `None` while no attempt was made, and when none will be.
    pub mailed_at: Option<Timestamp>,
    /// The account's version when the message was chosen, or when the change was requested.
    pub version: Option<i64>,
    /// Until when it is valid, if it is an invitation. The operator may hand its link over, so it
    /// does not depend on a message.
    pub invited_until: Option<Timestamp>,
}

/// The account that the request would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountState {
    /// There is none, as a registration requires.
    None,
    /// It is open and enabled.
    Good {
        /// Its version: raised by every change of credentials, address or state.
        version: i64,
    },
    /// It was created by an operator and has no password yet.
    Invited {
        /// Whether it has the address to which the request's message goes.
        has_address: bool,
    },
    /// It is disabled or closed.
    Barred,
}

/// The evidence in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailProof {
    /// The genuine token of the link.
    Link,
    /// The genuine token of the request, and the right code.
    RightCode,
    /// The genuine token of the request, and a wrong code.
    WrongCode,
}

/// The lifetimes of links and codes, counted from the hand-over to the mail server.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// The lifetime of a code.
    pub code: Duration,
    /// The lifetime of a link.
    pub link: Duration,
}

/// The decision about a link or a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailDecision {
    /// Carry out the request and mark it as used, in one unit of work.
    Consume,
    /// Reject it, and count a wrong code.
    CountWrongCode,
    /// Reject it.
    Reject,
}

/// Decides about a link or a code that is shown for the purpose `wanted`.
#[must_use]
pub fn decide(
    request: &RequestState,
    wanted: MailPurpose,
    proof: MailProof,
    account: AccountState,
    now: Timestamp,
    lifetimes: Lifetimes,
) -> MailDecision {
    let spent = proof != MailProof::Link && request.code_attempts >= WRONG_CODES;
    if request.purpose != wanted || request.is_used || spent {
        return MailDecision::Reject;
    }
    let lifetime = match proof {
        MailProof::WrongCode => return MailDecision::CountWrongCode,
        MailProof::Link => lifetimes.link,
        MailProof::RightCode => lifetimes.code,
    };
    let is_fresh = match request.invited_until {
        Some(until) => proof == MailProof::Link && now < until,
        None => request.mailed_at.is_some_and(|at| now < at.plus(lifetime)),
    };
    if is_fresh && fits(request, account) { MailDecision::Consume } else { MailDecision::Reject }
}

/// Whether the account is in the state that the request requires.
fn fits(request: &RequestState, account: AccountState) -> bool {
    let is_invitation = request.invited_until.is_some();
    match (request.purpose, account) {
        // A forgotten password sends the invitation again.
        (MailPurpose::Invitation | MailPurpose::Reset, AccountState::Invited { has_address }) => {
            is_invitation && has_address
        }
        (MailPurpose::Registration, AccountState::None) => true,
        (MailPurpose::Reset | MailPurpose::EmailChange, AccountState::Good { version }) => {
            !is_invitation && request.version == Some(version)
        }
        _ => false,
    }
}
