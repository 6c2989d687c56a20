//! Strict JSON, which can be parsed in one way only.
//!
//! If an object has a member twice, two parsers may use different values, and so disagree on the
//! signed content. RFC 7515 4 and RFC 7519 4 let a parser use the last one; this one rejects
//! duplicates at every depth, and in unused members.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The rules of a parser beyond valid JSON and unique members.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The deepest nesting of arrays and objects. `serde_json` itself allows 127 levels.
    pub max_depth: usize,
    /// Whether a string or a name may contain NUL.
    pub allow_nul: bool,
}

/// Reads exactly one value, with nothing after it but white space.
///
/// # Errors
/// [`serde_json::Error`], whose text has the position and quotes nothing of the input.
pub fn read(text: &str, rules: Rules) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Builder { rules, depth: 0 }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// An object of a token: its header or its claims.
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// Reads exactly one object: UTF-8, no byte order mark, nothing after it but white space.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        const RULES: Rules = Rules { max_depth: usize::MAX, allow_nul: true };
        match read(str::from_utf8(bytes).ok()?, RULES).ok()? {
            Value::Object(members) => Some(Self(members)),
            _ => None,
        }
    }

    /// Whether it has a member of this name, of any value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Its members as a struct's fields.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(&self.0).ok()
    }
}

/// Builds a [`Value`] and rejects what [`Value`] itself would accept.
#[derive(Clone, Copy)]
struct Builder {
    rules: Rules,
    depth: usize,
}

impl Builder {
    fn inside<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == self.rules.max_depth {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn check_text<E: de::Error>(self, text: &str) -> Result<(), E> {
        if !self.rules.allow_nul && text.contains('\0') {
            return Err(E::custom("NUL in a string"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Builder {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Builder {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.check_text(text)?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inside)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            self.check_text(&name)?;
            if members.contains_key(&name) {
                return Err(de::Error::custom("a member appears twice"));
            }
            members.insert(name, map.next_value_seed(inside)?);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_a_parsed_object_are_found() {
        let object = Object::read(br#" {"a": [1, -2, 3.5, "x", null, true, {"b": 1}], "c": {}} "#);
        let object = object.unwrap();
        assert!(object.has("a") && object.has("c") && !object.has("b"));
    }

    #[test]
    fn ambiguous_input_is_rejected() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{},[{"b":1,"c":0,"b":2}]]}"#,
            r#"["a"]"#,
            r#""a""#,
            "null",
            "",
            "{} {}",
            "{}x",
            "{}\0",
            "\u{feff}{}",
            r#"{"a":"\ud800"}"#,
            r#"{"a":1e999}"#,
            r#"{"a":01}"#,
            r#"{"a":NaN}"#,
            "{'a':1}",
            r#"{"a":1,}"#,
        ] {
            assert!(Object::read(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Object::read(b"{\"a\":\"\xff\"}").is_none());
    }

    #[test]
    fn nesting_and_nul_are_bounded_by_the_rules() {
        let accepts =
            |text: &str, max_depth, allow_nul| read(text, Rules { max_depth, allow_nul }).is_ok();
        let nested = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(accepts(&nested(16), 16, false));
        assert!(!accepts(&nested(17), 16, false));
        for text in [r#"["a\u0000"]"#, r#"{"a\u0000":1}"#] {
            assert!(accepts(text, 16, true) && !accepts(text, 16, false), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |n| format!(r#"{{"a":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(Object::read(nested(100).as_bytes()).is_some());
        assert!(Object::read(nested(200).as_bytes()).is_none());
        assert!(Object::read(nested(1_000_000).as_bytes()).is_none());
    }
}
