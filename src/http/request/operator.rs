//! The caller of the admin API, and the version that it expects.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, Header as _, IF_MATCH};
use actix_web::{FromRequest, HttpMessage, HttpRequest};

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
        ready(expected_version(request).map(Self).ok_or_else(|| Code::PreconditionRequired.into()))
    }
}

/// `If-Match` of an operation that does not require it; any version without it.
#[derive(Clone, Debug)]
pub(crate) struct OptionalIfMatch(pub ExpectedVersion);

impl FromRequest for OptionalIfMatch {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(expected_version(request).unwrap_or_default())))
    }
}

/// The versions of the tags, or any; `None` without the header. A weak or malformed tag matches no
/// version.
fn expected_version(request: &impl HttpMessage) -> Option<ExpectedVersion> {
    if !request.headers().contains_key(IF_MATCH) {
        return None;
    }
    Some(match header::IfMatch::parse(request) {
        Ok(header::IfMatch::Any) => ExpectedVersion::Any,
        Ok(header::IfMatch::Items(tags)) => {
            let strong = tags.iter().filter(|tag| !tag.weak);
            ExpectedVersion::OneOf(strong.filter_map(|tag| version(tag.tag())).collect())
        }
        Err(_) => ExpectedVersion::OneOf(Vec::new()),
    })
}

fn version(tag: &str) -> Option<i64> {
    tag.parse().ok().filter(|version: &i64| version.to_string() == tag)
}

/// The entity tag of a version.
pub(crate) fn entity_tag(version: i64) -> String {
    format!("\"{version}\"")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_strong_tags_as_the_service_writes_them_match() {
        let any = ExpectedVersion::Any;
        let one_of = |versions: &[i64]| ExpectedVersion::OneOf(versions.to_vec());
        for (field, expected) in [
            ("*", any),
            (&*entity_tag(7), one_of(&[7])),
            ("\"3\", \"4\",\"5\"", one_of(&[3, 4, 5])),
            ("W/\"3\"", one_of(&[])),
            ("3", one_of(&[])),
            ("\"3", one_of(&[])),
            ("\"x\"", one_of(&[])),
            ("\"+3\"", one_of(&[])),
            ("\"03\"", one_of(&[])),
            ("\"3, *, 4\"", one_of(&[])),
            ("", one_of(&[])),
        ] {
            let request = TestRequest::default().insert_header((IF_MATCH, field)).to_http_request();
            assert_eq!(expected_version(&request), Some(expected), "{field}");
        }
        assert_eq!(expected_version(&TestRequest::default().to_http_request()), None);
    }
}
