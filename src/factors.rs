//! Second factors, without I/O: TOTP secrets, recovery codes, and the tokens of an unfinished
//! login.
//!
//! `accounts` stores them, limits guesses and uses each code once.

pub mod keys;
pub mod login_tokens;
pub mod recovery_codes;
pub mod totp;

use crate::named::named;
use crate::secret::Secret;

named! {
    /// The kinds of second factors.
    pub enum FactorKind {
        /// A code of an authenticator app.
        Totp = "totp",
        /// A recovery code.
        RecoveryCode = "recovery_code",
    }
}

/// A second factor as received.
#[derive(Clone, Debug)]
pub enum SecondFactor {
    /// A code of an authenticator app.
    Totp(Secret<String>),
    /// A recovery code.
    RecoveryCode(Secret<String>),
}

impl SecondFactor {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> FactorKind {
        match self {
            Self::Totp(_) => FactorKind::Totp,
            Self::RecoveryCode(_) => FactorKind::RecoveryCode,
        }
    }
}
