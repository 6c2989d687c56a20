//! JSON that can be read in one way only.
//!
//! Two readers that disagree on which of two equal members counts are two opinions on what was
//! signed. RFC 7515 4 and RFC 7519 4 let a reader take the last one; this one refuses, at every
//! depth and in members that nobody asks for.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A JSON object in which no name, however deep, is given twice.
pub struct Object<'a> {
    text: &'a str,
    names: HashSet<String>,
}

impl<'a> Object<'a> {
    /// Reads exactly one object: UTF-8, no byte order mark, nothing behind it but white space. What
    /// is nested deeper than 128 levels is refused by `serde_json`.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let Unambiguous::Object(names) = serde_json::from_str(text).ok()? else {
            return None;
        };
        Some(Self { text, names })
    }

    /// Whether it has a member of this name, whatever its value.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Its members as a struct's fields.
    pub fn parse<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.text).ok()
    }
}

/// A value that was looked through for duplicates. Of an object the names remain.
enum Unambiguous {
    Object(HashSet<String>),
    Other,
}

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walker)
    }
}

struct Walker;

impl<'de> Visitor<'de> for Walker {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unambiguous, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, _)) = map.next_entry::<String, Unambiguous>()? {
            if !names.insert(name) {
                return Err(Error::custom("a duplicate member"));
            }
        }
        Ok(Unambiguous::Object(names))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unambiguous, A::Error> {
        while seq.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
        Ok(Unambiguous::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous::Other)
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_and_its_members_are_known() {
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
    fn deep_nesting_is_refused() {
        let nested = |n| format!(r#"{{"a":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(Object::read(nested(100).as_bytes()).is_some());
        assert!(Object::read(nested(200).as_bytes()).is_none());
        assert!(Object::read(nested(1_000_000).as_bytes()).is_none());
    }
}
