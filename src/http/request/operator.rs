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
        let fields: Vec<&str> =
            request.headers().get_all(IF_MATCH).filter_map(|field| field.to_str().ok()).collect();
        ready(if fields.is_empty() {
            Err(Code::PreconditionRequired.into())
        } else {
            Ok(Self(parse(&fields)))
        })
    }
}

/// A weak or malformed tag matches no version.
fn parse(fields: &[&str]) -> ExpectedVersion {
    let mut tags = fields.iter().flat_map(|field| field.split(',')).map(str::trim);
    if tags.clone().any(|tag| tag == "*") {
        return ExpectedVersion::Any;
    }
    let version = |tag: &str| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    ExpectedVersion::OneOf(tags.by_ref().filter_map(version).collect())
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
        let versions = |fields: &[&str]| parse(fields);
        assert_eq!(versions(&["*"]), ExpectedVersion::Any);
        assert_eq!(versions(&["\"3\", \"4\"", "\"5\""]), ExpectedVersion::OneOf(vec![3, 4, 5]));
        assert_eq!(versions(&["W/\"3\"", "3", "\"x\"", ""]), ExpectedVersion::OneOf(vec![]));
        assert!(parse(&[&entity_tag(7)]).allows(7) && !parse(&[&entity_tag(7)]).allows(8));
    }
}
