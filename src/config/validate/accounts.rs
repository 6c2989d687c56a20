//! Validation of the settings of second factors.

use super::Checked;
use super::bounds::{DAY, MINUTE, duration_in_range};
use crate::config::{AccountsConfig, ConfigError, RequireSecondFactor};

pub(super) fn accounts(accounts: &AccountsConfig) -> Checked {
    duration_in_range("accounts.fresh_for", accounts.fresh_for, MINUTE..=DAY)?;
    let RequireSecondFactor::Roles(roles) = &accounts.require_second_factor else { return Ok(()) };
    let is_role = |role: &&String| !role.is_empty() && !role.contains(char::is_whitespace);
    let problem = match roles.iter().find(|role| !is_role(role)) {
        Some(role) => format!("`{role}` is not a valid role"),
        None if roles.is_empty() => String::from("the list has no role"),
        None => return Ok(()),
    };
    let remedy = "name at least one role, without spaces, or write off";
    Err(ConfigError::new("accounts.require_second_factor", problem, remedy))
}
