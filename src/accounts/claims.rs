//! Custom claims: an object that operators set and tokens carry as `ext`.

use serde_json::{Map, Value};

use crate::tokens::strict_json::{self, Rules};

/// The maximum number of members.
const MAX_CLAIMS: usize = 32;

/// The longest name of a member, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The deepest nesting, the object itself included.
const MAX_DEPTH: usize = 4;

/// The custom claims of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomClaims(Map<String, Value>);

/// Why custom claims are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaims {
    /// Not an object that every parser reads in the same way.
    #[error("custom claims are one JSON object without duplicate members, at most 4 levels deep")]
    Shape,
    /// A name has other characters, or is too long.
    #[error(
        "`{0}` is not a valid claim name: use 1 to 64 letters, digits and the characters . _ : / -"
    )]
    Name(String),
    /// There are too many.
    #[error("an account has at most 32 custom claims")]
    TooMany,
}

impl CustomClaims {
    /// Reads a JSON object. An empty one stands for no claims.
    ///
    /// # Errors
    /// [`InvalidClaims`].
    pub fn parse(text: &str) -> Result<Self, InvalidClaims> {
        let rules = Rules { max_depth: MAX_DEPTH, allow_nul: false };
        let Ok(Value::Object(members)) = strict_json::read(text, rules) else {
            return Err(InvalidClaims::Shape);
        };
        if let Some(odd) = members.keys().find(|name| !is_name(name)) {
            return Err(InvalidClaims::Name(odd.clone()));
        }
        if members.len() > MAX_CLAIMS {
            return Err(InvalidClaims::TooMany);
        }
        Ok(Self(members))
    }

    /// The claims of a column, valid or not.
    pub(super) fn from_stored(column: Option<&str>) -> Self {
        Self(column.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    /// The column's format; `None` without claims.
    pub(super) fn to_stored(&self) -> Option<String> {
        self.members().map(|members| Value::Object(members.clone()).to_string())
    }

    /// The members, if there are any.
    #[must_use]
    pub fn members(&self) -> Option<&Map<String, Value>> {
        Some(&self.0).filter(|members| !members.is_empty())
    }

    /// The names that have another value in `later`, or none.
    pub(super) fn changed_or_missing_in<'a>(&'a self, later: &Self) -> Vec<&'a str> {
        let differs = |(name, value): &(&String, &Value)| later.0.get(*name) != Some(*value);
        self.0.iter().filter(differs).map(|(name, _)| name.as_str()).collect()
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_claims_are_one_strict_object() {
        let claims = CustomClaims::parse(r#" {"plan": "pro", "https://a.b/x": [1, {"y": []}]} "#);
        let text = claims.unwrap().to_stored().unwrap();
        assert_eq!(text, r#"{"https://a.b/x":[1,{"y":[]}],"plan":"pro"}"#);
        assert_eq!(CustomClaims::parse("{}").unwrap().to_stored(), None);
        let odd = [
            "",
            "null",
            "[]",
            "1",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1}x"#,
            r#"{"a":[[[[]]]]}"#,
            r#"{"a":"\u0000"}"#,
        ];
        for odd in odd {
            assert_eq!(CustomClaims::parse(odd), Err(InvalidClaims::Shape), "{odd}");
        }
        for odd in ["", "a b", "\u{e4}", &"n".repeat(65)] {
            let text = serde_json::json!({ odd: 1 }).to_string();
            assert_eq!(CustomClaims::parse(&text), Err(InvalidClaims::Name(odd.to_owned())));
        }
        let many: Map<String, Value> = (0..33).map(|n| (format!("n{n}"), n.into())).collect();
        let text = Value::Object(many).to_string();
        assert_eq!(CustomClaims::parse(&text), Err(InvalidClaims::TooMany));
    }

    #[test]
    fn a_changed_value_was_taken_away() {
        let parse = |text| CustomClaims::parse(text).unwrap();
        let before = parse(r#"{"plan":"pro","seats":5}"#);
        let taken = |later| before.changed_or_missing_in(&parse(later)).join(" ");
        assert_eq!(taken(r#"{"plan":"pro","seats":5,"new":1}"#), "");
        assert_eq!(taken(r#"{"plan":"free","seats":5}"#), "plan");
        assert_eq!(taken("{}"), "plan seats");
    }
}
