//! The client's language, for messages.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{ACCEPT_LANGUAGE, HeaderValue};
use actix_web::{FromRequest, HttpRequest};

use crate::http::problem::Problem;

/// The first language of `Accept-Language` (RFC 9110 12.5.4) without its region: `de` for `de-AT`.
/// Browsers send the languages in the order of preference.
pub(crate) struct Language(pub Option<String>);

impl Language {
    fn of(header: Option<&HeaderValue>) -> Option<String> {
        let first = header?.to_str().ok()?.split([',', ';', '-']).next()?.trim();
        let is_language =
            (2..=3).contains(&first.len()) && first.bytes().all(|b| b.is_ascii_alphabetic());
        is_language.then(|| first.to_ascii_lowercase())
    }
}

impl FromRequest for Language {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(Self::of(request.headers().get(ACCEPT_LANGUAGE)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_is_used_without_its_region() {
        for (header, language) in [
            ("de", Some("de")),
            ("DE-at,en;q=0.5", Some("de")),
            ("fil;q=0.9", Some("fil")),
            ("*", None),
            ("", None),
            ("../../etc", None),
            ("d\u{fc}", None),
        ] {
            let header = HeaderValue::from_bytes(header.as_bytes()).unwrap();
            assert_eq!(Language::of(Some(&header)).as_deref(), language, "{header:?}");
        }
        assert_eq!(Language::of(None), None);
    }
}
