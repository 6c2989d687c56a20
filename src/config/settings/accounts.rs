//! Registration and second factors.

use std::time::Duration;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::MINUTE;
use crate::config::serde_formats;

/// Registration and second factors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountsConfig {
    /// Who may register: `open` (everybody), `closed` (nobody: only operators create accounts), or
    /// `invite` (the same, and while e-mail is off, too, the owners of invited accounts set the
    /// first password on the page `/reset`).
    pub registration: Registration,
    /// Whether a registration must prove its e-mail address: `off`, or `required` (the account is
    /// created when the code from the message is confirmed; this needs `email.url`).
    pub verification: Verification,
    /// The accounts that cannot log in without a second factor: `off` (none), `all`, or a list of
    /// roles, as in `["admin"]`. A login of such an account without one is told to set one up.
    /// Sessions that exist continue; `doorward session end --without-factor` ends them.
    pub require_second_factor: RequireSecondFactor,
    /// How long after a second factor was proven its session may change password, address and
    /// factors, or close the account, without another proof: 1m to 1d.
    #[serde(with = "serde_formats::duration")]
    pub fresh_for: Duration,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self {
            registration: Registration::Open,
            verification: Verification::Off,
            require_second_factor: RequireSecondFactor::Off,
            fresh_for: Duration::from_secs(10 * MINUTE),
        }
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
    /// Nobody; operators invite people, even while e-mail is off.
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

/// The accounts that cannot log in without a second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequireSecondFactor {
    /// None.
    Off,
    /// All.
    All,
    /// Those with one of these roles.
    Roles(Vec<String>),
}

impl Serialize for RequireSecondFactor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::All => serializer.serialize_str("all"),
            Self::Roles(roles) => {
                let mut list = serializer.serialize_seq(Some(roles.len()))?;
                roles.iter().try_for_each(|role| list.serialize_element(role))?;
                list.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for RequireSecondFactor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RequireVisitor)
    }
}

struct RequireVisitor;

impl<'de> Visitor<'de> for RequireVisitor {
    type Value = RequireSecondFactor;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("off, all, or a list of roles")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RequireSecondFactor, E> {
        match text.trim() {
            "off" => Ok(RequireSecondFactor::Off),
            "all" => Ok(RequireSecondFactor::All),
            // A variable cannot hold a TOML list.
            list if list.starts_with('[') => serde_json::from_str(list)
                .map(RequireSecondFactor::Roles)
                .map_err(|_| E::custom(r#"write a list of roles as in ["admin","support"]"#)),
            other => Err(E::custom(format_args!(
                "`{other}` is not valid: write off, all, or a list of roles as in [\"admin\"]"
            ))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RequireSecondFactor, A::Error> {
        let mut roles = Vec::new();
        while let Some(role) = list.next_element()? {
            roles.push(role);
        }
        Ok(RequireSecondFactor::Roles(roles))
    }
}
