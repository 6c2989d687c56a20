//! Role names.

use std::collections::BTreeSet;

/// The maximum number of an account's roles.
const MAX_ROLES: usize = 32;

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Roles of an account, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleSet(BTreeSet<String>);

/// Why roles are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoles {
    /// A name has other characters, or is too long.
    #[error(
        "`{0}` is not a valid role: use 1 to 64 lower-case letters, digits, colons, underscores \
         and hyphens"
    )]
    Name(String),
    /// There are too many.
    #[error("an account has at most 32 roles")]
    TooMany,
}

impl RoleSet {
    /// Reads role names.
    ///
    /// # Errors
    /// [`InvalidRoles`].
    pub fn parse(names: &[String]) -> Result<Self, InvalidRoles> {
        if let Some(odd) = names.iter().find(|name| !is_role(name)) {
            return Err(InvalidRoles::Name(odd.clone()));
        }
        Self(names.iter().cloned().collect()).within_limit()
    }

    /// The roles of a column, valid or not: an earlier version may have written them.
    pub(super) fn from_stored(column: &str) -> Self {
        Self(column.split_whitespace().map(str::to_owned).collect())
    }

    /// The column's format.
    pub(super) fn to_stored(&self) -> String {
        self.to_vec().join(" ")
    }

    /// The roles in alphabetical order.
    #[must_use]
    pub fn to_vec(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These roles and those of `others`.
    pub(super) fn with(&self, others: &Self) -> Result<Self, InvalidRoles> {
        Self(&self.0 | &others.0).within_limit()
    }

    /// These roles except those of `others`.
    pub(super) fn without(&self, others: &Self) -> Self {
        Self(&self.0 - &others.0)
    }

    fn within_limit(self) -> Result<Self, InvalidRoles> {
        if self.0.len() > MAX_ROLES { Err(InvalidRoles::TooMany) } else { Ok(self) }
    }
}

fn is_role(name: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b":_-".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(names: &[&str]) -> Result<RoleSet, InvalidRoles> {
        RoleSet::parse(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn roles_are_short_plain_names() {
        assert_eq!(parse(&["b:1", "a_-", "b:1"]).unwrap().to_stored(), "a_- b:1");
        assert!(parse(&[&"r".repeat(64)]).is_ok());
        for odd in ["", "Admin", "a b", "a,b", "\u{e4}", &"r".repeat(65)] {
            assert_eq!(parse(&[odd]), Err(InvalidRoles::Name(odd.to_owned())));
        }
    }

    #[test]
    fn an_account_has_at_most_32_roles() {
        let names: Vec<String> = (0..33).map(|n| format!("r{n}")).collect();
        let most = RoleSet::parse(&names[..32]).unwrap();
        assert_eq!(RoleSet::parse(&names), Err(InvalidRoles::TooMany));
        assert_eq!(most.with(&parse(&["one-more"]).unwrap()), Err(InvalidRoles::TooMany));
        assert!(most.without(&most).is_empty());
    }
}
