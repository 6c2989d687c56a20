//! The caller of the admin API, and the version that it expects.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::IF_MATCH;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};

use crate::database::{ExpectedVersion, Id};
use crate::http::problem::{Code, Problem};

/// An authorised client of the admin API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operator(pub Id);

impl Operator {
    /// The name in the audit trail.
    pub(crate) fn actor(self) -> String {
        self.0.to_string()
    }
}

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Only the middleware inserts it; a route that it does not know is refused.
        let operator = request.extensions().get::<Self>().copied();
        ready(operator.ok_or_else(|| Code::Forbidden.into()))
    }
}

/// `If-Match` (RFC 9110 13.1.1), which a change of an account or a client requires.
#[derive(Clone, Debug)]
pub(crate) struct IfMatch(pub ExpectedVersion);

impl FromRequest for IfMatch {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mut fields = request.headers().get_all(IF_MATCH).peekable();
        ready(if fields.peek().is_none() {
            Err(Code::PreconditionRequired.into())
        } else {
            // A tag of other characters is none of this service.
            let text: Vec<&str> = fields.map(|field| field.to_str().unwrap_or_default()).collect();
            Ok(Self(parse(&text.join(","))))
        })
    }
}

/// The versions of the tags, or `*` alone. A weak or malformed tag matches no version.
fn parse(field: &str) -> ExpectedVersion {
    if field.trim() == "*" {
        return ExpectedVersion::Any;
    }
    // Between two quotes is a tag; commas may be part of it.
    let parts: Vec<&str> = field.split('"').collect();
    let tags = parts.iter().enumerate().filter(|(n, _)| n % 2 == 1);
    let strong = tags.filter(|(n, _)| !parts[n - 1].trim_end().ends_with("W/"));
    let version = |tag: &str| tag.parse().ok().filter(|version: &i64| version.to_string() == tag);
    ExpectedVersion::OneOf(strong.filter_map(|(_, tag)| version(tag)).collect())
}

/// The entity tag of a version.
pub(crate) fn entity_tag(version: i64) -> String {
    format!("\"{version}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_strong_and_quoted() {
        assert_eq!(parse("*"), ExpectedVersion::Any);
        assert_eq!(parse("\"3\", \"4\",\"5\""), ExpectedVersion::OneOf(vec![3, 4, 5]));
        for none in ["W/\"3\"", "3", "\"x\"", "", "\"3, *, 4\"", "\"3\", *", "\"+3\"", "\"03\""] {
            let allows = parse(none);
            let is_third = none == "\"3\", *";
            assert_eq!(allows, ExpectedVersion::OneOf(if is_third { vec![3] } else { vec![] }));
        }
        assert!(parse(&entity_tag(7)).allows(7) && !parse(&entity_tag(7)).allows(8));
    }
}
