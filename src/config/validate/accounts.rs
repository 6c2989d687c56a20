//! Validation of the settings of second factors.

use super::Checked;
use super::bounds::{DAY, MINUTE, duration_in_range};
use crate::accounts::RoleSet;
use crate::config::{AccountsConfig, ConfigError, RequireSecondFactor};

pub(super) fn accounts(accounts: &AccountsConfig) -> Checked {
    duration_in_range("accounts.fresh_for", accounts.fresh_for, MINUTE..=DAY)?;
    let RequireSecondFactor::Roles(roles) = &accounts.require_second_factor else { return Ok(()) };
    let problem = match RoleSet::parse(roles) {
        Ok(roles) if roles.is_empty() => String::from("the list has no role"),
        Ok(_) => return Ok(()),
        Err(invalid) => invalid.to_string(),
    };
    let remedy = "name at least one role, as operators grant it, or write off";
    Err(ConfigError::new("accounts.require_second_factor", problem, remedy))
}
