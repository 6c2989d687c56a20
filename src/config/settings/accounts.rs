//! Registration.

use serde::{Deserialize, Serialize};

/// Registration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountsConfig {
    /// Who may register: `open` (everybody), `closed` (nobody: accounts come from
    /// `doorward user add`), or `invite` (nobody: accounts come from `doorward user invite`, and
    /// their owners set the first password by a link).
    pub registration: Registration,

    /// Whether a registration must prove its e-mail address: `off`, or `required` (the account is
    /// created when the code from the message is confirmed; this needs `email.url`).
    pub verification: Verification,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self { registration: Registration::Open, verification: Verification::Off }
    }
}

/// Who may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// Everybody.
    Open,
    /// Nobody.
    Closed,
    /// Nobody; operators invite people.
    Invite,
}

/// Whether a registration must prove its e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// The account is created at once.
    Off,
    /// The account is created after the proof.
    Required,
}
