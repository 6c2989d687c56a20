//! CSRF protection by `Sec-Fetch-Site` and `Origin`: a browser adds cookies to requests that any
//! page triggers.
//!
//! It applies to every request that changes something and is authenticated by cookies, to the login
//! that asks for them (otherwise a foreign page could log its visitor in to the attacker's
//! account), and to the forms of `/reset`. Browsers state the source of a request in
//! `Sec-Fetch-Site`, older ones in `Origin`, and no page can forge either; a request with neither
//! is rejected.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN};

use super::cookies::CookiePolicy;
use crate::http::problem::{Code, Problem};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Accepts a request that comes from a page of this origin, from one of a listed origin, or from
/// the user directly.
///
/// # Errors
/// `csrf_refused`.
pub(crate) fn check(headers: &HeaderMap, policy: &CookiePolicy) -> Result<(), Problem> {
    let (site, origin) =
        (SingleHeader::of(headers, &SEC_FETCH_SITE), SingleHeader::of(headers, &ORIGIN));
    let passes = match (site, origin) {
        // Fetch Metadata 2.4: `none` is a bookmark or a typed address.
        (
            SingleHeader::Value(b"same-origin" | b"none"),
            SingleHeader::Value(_) | SingleHeader::Absent,
        ) => true,
        (SingleHeader::Value(b"same-site" | b"cross-site"), SingleHeader::Value(origin)) => {
            policy.allows_origin(origin)
        }
        (SingleHeader::Absent, SingleHeader::Value(origin)) => {
            policy.is_own(origin) || policy.allows_origin(origin)
        }
        _ => false,
    };
    if passes { Ok(()) } else { Err(Code::CsrfRefused.into()) }
}

/// Whether, according to the browser, the page that sent the request is cross-site.
pub(crate) fn is_cross_site(headers: &HeaderMap) -> bool {
    matches!(SingleHeader::of(headers, &SEC_FETCH_SITE), SingleHeader::Value(b"cross-site"))
}

/// A header that may appear at most once.
enum SingleHeader<'a> {
    Absent,
    Value(&'a [u8]),
    Several,
}

impl<'a> SingleHeader<'a> {
    fn of(headers: &'a HeaderMap, name: &HeaderName) -> Self {
        let mut fields = headers.get_all(name).map(HeaderValue::as_bytes);
        match (fields.next(), fields.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => Self::Value(value),
            (Some(_), Some(_)) => Self::Several,
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use cookie::SameSite;

    use super::*;

    fn passes(fields: &[(&str, &str)]) -> bool {
        let listed = vec![String::from("https://app.example.com")];
        let policy = CookiePolicy::new("https://login.example.com/auth", SameSite::Lax, listed);
        let request = fields.iter().fold(TestRequest::default(), |request, (name, value)| {
            request.append_header((*name, *value))
        });
        check(request.to_http_request().headers(), &policy).is_ok()
    }

    #[test]
    fn this_origin_listed_origins_and_the_user_are_accepted() {
        let (site, origin) = ("sec-fetch-site", "origin");
        for fields in [
            &[(site, "same-origin")][..],
            &[(site, "none")],
            &[(site, "same-origin"), (origin, "http://localhost:8080")],
            &[(site, "same-site"), (origin, "https://app.example.com")],
            &[(site, "cross-site"), (origin, "https://app.example.com")],
            &[(origin, "https://app.example.com")],
            &[(origin, "https://login.example.com")],
        ] {
            assert!(passes(fields), "{fields:?}");
        }
    }

    #[test]
    fn other_origins_are_rejected() {
        let (site, origin) = ("sec-fetch-site", "origin");
        for fields in [
            &[][..],
            &[(site, "same-site")],
            &[(site, "cross-site")],
            &[(site, "")],
            &[(site, "Same-Origin")],
            &[(site, "same-origin"), (site, "cross-site")],
            &[(site, "same-origin"), (origin, "https://a.example"), (origin, "https://b.example")],
            &[(site, "same-site"), (origin, "https://login.example.com")],
            &[(site, "cross-site"), (origin, "null")],
            &[(site, "cross-site"), (origin, "https://evil.example")],
            &[(site, "cross-site"), (origin, "https://app.example.com.evil.example")],
            &[(origin, "null")],
            &[(origin, "")],
            &[(origin, "https://evil.example")],
            &[(origin, "http://app.example.com")],
            &[(origin, "https://app.example.com:8443")],
            &[(origin, "https://login.example.com/auth")],
            &[(origin, "https://app.example.com"), (origin, "https://app.example.com")],
        ] {
            assert!(!passes(fields), "{fields:?}");
        }
    }
}
