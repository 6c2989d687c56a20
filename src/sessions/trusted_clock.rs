//! Whether tokens are verified and issued by this node's clock.
//!
//! Nodes on PostgreSQL share the database's time. A node whose clock is further from it than
//! `revocations.max_clock_skew` cannot tell which tokens are valid: it would accept expired ones,
//! reject valid ones (with a 401, after which the client discards its session), and issue tokens
//! that live too long or have expired already. So it answers 503, and the client's retry may reach
//! another node. Ending a session by its refresh token does not depend on the clock and still
//! works.

use super::Sessions;

/// The clock of this node is too far from the database's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the clocks of this node and of the database differ")]
pub struct ClockSkewed;

impl Sessions {
    /// To be called before a token is verified or issued, and before anything else that depends on
    /// whether a session has expired.
    ///
    /// # Errors
    /// [`ClockSkewed`]: the client should retry, if possible at another node.
    pub fn ensure_clock(&self) -> Result<(), ClockSkewed> {
        if self.revocations.is_clock_trusted() { Ok(()) } else { Err(ClockSkewed) }
    }
}
