//! The attributes of cookies, and the pages that may use them.

use actix_web::HttpResponse;
use actix_web::http::header::SET_COOKIE;
use cookie::{Cookie, SameSite};
use url::Url;

use crate::http::problem::{Code, Problem};
use crate::loopback::is_local;

/// The attributes of cookies, and the pages that may use them.
#[derive(Clone, Debug)]
pub struct CookiePolicy {
    pub(super) same_site: SameSite,
    /// Whether browsers store `Secure` cookies of the public URL.
    pub(super) secure_context: bool,
    own_origin: String,
    listed_origins: Vec<String>,
}

impl CookiePolicy {
    /// The policy of a service at this URL, whose pages are of that origin or of a listed one.
    #[must_use]
    pub fn new(public_url: &str, same_site: SameSite, listed_origins: Vec<String>) -> Self {
        let url = Url::parse(public_url).ok();
        let is_local = url.as_ref().is_some_and(is_local);
        let is_https = url.as_ref().is_some_and(|url| url.scheme() == "https");
        let own_origin = url.map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        Self { same_site, secure_context: is_https || is_local, own_origin, listed_origins }
    }

    pub(in crate::http) fn is_own(&self, origin: &[u8]) -> bool {
        origin == self.own_origin.as_bytes()
    }

    pub(in crate::http) fn allows_origin(&self, origin: &[u8]) -> bool {
        self.listed_origins.iter().any(|listed| listed.as_bytes() == origin)
    }

    /// Adds a cookie with this lifetime in seconds; with 0 the browser deletes it.
    pub(super) fn set(
        &self,
        response: &mut HttpResponse,
        name: &str,
        value: &str,
        seconds: u64,
    ) -> Result<(), Problem> {
        let age = cookie::time::Duration::seconds(seconds.try_into().unwrap_or(i64::MAX));
        let cookie = Cookie::build((name, value))
            .max_age(age)
            .path("/")
            .secure(true)
            .http_only(true)
            .same_site(self.same_site)
            .build();
        // Names and tokens consist of letters, digits and `-_.`.
        let field = cookie.to_string().try_into().map_err(|_| Code::InternalError)?;
        response.headers_mut().append(SET_COOKIE, field);
        Ok(())
    }
}
