//! Cookie transport: tokens as `HttpOnly` cookies, by `"transport": "cookie"` at `/login`.
//!
//! All of them are `__Host-` cookies: `Secure`, `HttpOnly`, and for this host alone (RFC 6265bis
//! 4.1.3.2). Every resource that takes a token also takes it from a cookie, but a request has one
//! source of credentials: a token beside a cookie is rejected.
//!
//! # Responses that overtake each other
//!
//! A page cannot compare generations before it stores a token: the browser keeps the cookie that
//! arrived last. With one name for all of them, a response delayed longer than the retry window
//! would overwrite newer refresh tokens with an old one; the next request would then be two
//! generations behind, and end the session as a theft. So every refresh token has its own cookie
//! name, [`REFRESH`] with its session and generation:
//!
//! - a response sets its own token and clears those of its request, which are older;
//! - of several in a request, the newest counts;
//! - an error clears only the cookies that it is about.
//!
//! No response clears a newer token than its own, however late it arrives; so the newest token that
//! a browser holds only ever gets newer. This is the client that the rotation model calls
//! `Store::Greatest`, and late responses do not harm it (`sessions/rotation/model.rs`). Leftovers
//! of late responses are cleared by the next one.
//!
//! The access token's cookie has one fixed name. If an older one overwrites it, it stays valid
//! until it expires; one of another session is rejected when that has ended, and then the page
//! refreshes.
//!
//! Responses must not be cached (`Cache-Control: no-store`), so none needs `Vary: Cookie`.
//!
//! Considered and rejected: an `Idempotency-Key` that the server derives from the token itself
//! would prove every replay of it, the thief's too, and no theft would ever be detected.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError as _, web};
use cookie::{Cookie, SameSite};
use serde::Deserialize;
use url::{Host, Url};
use uuid::Uuid;

use super::credentials::BearerToken;
use super::csrf;
use crate::http::HttpSettings;
use crate::http::problem::{Code, Problem};
use crate::secret::Secret;
use crate::sessions::refresh::Refusal;
use crate::sessions::{TokenTexts, Tokens};

/// The name of the access token's cookie.
pub const ACCESS: &str = "__Host-doorward-access";

/// The prefix of the refresh tokens' cookie names; the session and the generation follow:
/// `__Host-doorward-refresh-019ab3d471f07c449b1d60f2a8d3e517-58`.
pub const REFRESH: &str = "__Host-doorward-refresh-";

/// How tokens travel to the client and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// In the body; the client stores them.
    #[default]
    Body,
    /// In cookies; the browser stores them.
    Cookie,
}

/// The attributes of cookies, and the pages that may use them.
#[derive(Clone, Debug)]
pub struct CookiePolicy {
    same_site: SameSite,
    /// Whether browsers store `Secure` cookies of the public URL.
    secure_context: bool,
    own_origin: String,
    listed_origins: Vec<String>,
}

/// Whether a URL is local to this machine: browsers trust those without https.
#[must_use]
pub fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
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
    fn set(
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

/// Doorward's cookies in a request.
pub(in crate::http) struct Cookies {
    settings: web::Data<HttpSettings>,
    access: Option<Secret<String>>,
    refresh: Vec<(String, Secret<String>)>,
    /// The content of `Authorization`.
    bearer: Result<Option<BearerToken>, Problem>,
    has_authorization: bool,
    /// Whether the request came from an allowed page.
    sender: Result<(), Problem>,
    /// Whether that page is cross-site to this service.
    is_cross_site: bool,
}

impl Cookies {
    /// Parses them. Cookies of other applications are ignored, even malformed ones.
    ///
    /// # Errors
    /// `multiple_credentials` for two of the same name.
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let settings = request.app_data::<web::Data<HttpSettings>>().ok_or(Code::InternalError)?;
        let (mut access, mut refresh) = (None, Vec::<(String, _)>::new());
        for field in request.headers().get_all(COOKIE) {
            for (name, value) in pairs(field.as_bytes()) {
                let value = Secret::new(value.to_owned());
                let is_second = if name == ACCESS {
                    access.replace(value).is_some()
                } else if is_of_refresh_token(name) {
                    let is_second = refresh.iter().any(|(other, _)| other == name);
                    refresh.push((name.to_owned(), value));
                    is_second
                } else {
                    false
                };
                if is_second {
                    return Err(Problem::new(Code::MultipleCredentials)
                        .detail("The request carries two cookies of the same name."));
                }
            }
        }
        Ok(Self {
            access,
            refresh,
            bearer: BearerToken::of(request),
            has_authorization: request.headers().contains_key(AUTHORIZATION),
            sender: csrf::check(request.headers(), &settings.cookies),
            is_cross_site: csrf::is_cross_site(request.headers()),
            settings: settings.clone(),
        })
    }

    /// The transport of the credentials, and so of the response. `with_token` means that the body
    /// has one.
    ///
    /// # Errors
    /// `multiple_credentials` when they come both ways; `csrf_refused` when they are cookies sent
    /// by a page that is not allowed.
    pub(crate) fn transport(&self, with_token: bool) -> Result<Transport, Problem> {
        if !self.any() {
            return Ok(Transport::Body);
        }
        if with_token || self.has_authorization {
            return Err(Code::MultipleCredentials.into());
        }
        self.sender.clone().map(|()| Transport::Cookie)
    }

    /// The access token, from `Authorization` or from its cookie. For a request that is not
    /// `is_safe_method`, a cookie is not enough: it must come from an allowed page.
    ///
    /// # Errors
    /// `missing_token`, `invalid_token` for a malformed one, and the errors of [`Self::transport`].
    pub(crate) fn access_token(self, is_safe_method: bool) -> Result<BearerToken, Problem> {
        if self.has_authorization && self.any() {
            return Err(Code::MultipleCredentials.into());
        }
        match (self.bearer?, self.access) {
            (Some(token), _) => Ok(token),
            (None, Some(cookie)) => {
                if !is_safe_method {
                    self.sender?;
                }
                BearerToken::parse(cookie.expose())
            }
            (None, None) => Err(Code::MissingToken.into()),
        }
    }

    /// The text of the access token's cookie.
    pub(crate) fn access(&self) -> Option<&str> {
        self.access.as_ref().map(|value| value.expose().as_str())
    }

    /// The texts of the refresh tokens.
    pub(crate) fn refresh_tokens(&self) -> Vec<&str> {
        self.refresh.iter().map(|(_, value)| value.expose().as_str()).collect()
    }

    /// For a login that asks for cookies: checks that this service may set them for this page, and
    /// that the browser stores them.
    ///
    /// # Errors
    /// `cookies_need_https`, `csrf_refused`, `cookies_blocked`.
    pub(crate) fn ensure_allowed(&self) -> Result<(), Problem> {
        let policy = &self.settings.cookies;
        if !policy.secure_context {
            return Err(Code::CookiesNeedHttps.into());
        }
        self.sender.clone()?;
        // RFC 6265bis 5.7: a browser ignores such cookies in the response to a cross-site `fetch`.
        if self.is_cross_site && policy.same_site != SameSite::None {
            return Err(Code::CookiesBlocked.into());
        }
        Ok(())
    }

    /// The response with new tokens, in the body or in cookies that replace those of the request.
    ///
    /// # Errors
    /// `internal_error` for a cookie that is not a valid header value; none here is one.
    pub(crate) fn respond_with_tokens(
        &self,
        mut tokens: Tokens,
        transport: Transport,
    ) -> Result<HttpResponse, Problem> {
        if transport == Transport::Body {
            return Ok(HttpResponse::Ok().json(tokens));
        }
        let texts = tokens.take_texts();
        let mut response = HttpResponse::Ok().json(tokens);
        let policy = &self.settings.cookies;
        let name = name_of_refresh_token(&texts);
        policy.set(&mut response, ACCESS, texts.access.expose(), texts.expires_in)?;
        policy.set(&mut response, &name, texts.refresh.expose(), texts.refresh_expires_in)?;
        self.clear_refresh_tokens(&mut response, &name)?;
        Ok(response)
    }

    /// The response after a session has ended: it clears the request's cookies.
    ///
    /// # Errors
    /// `internal_error` for a cookie that is not a valid header value; none here is one.
    pub(crate) fn clear(
        &self,
        mut response: HttpResponse,
        transport: Transport,
    ) -> Result<HttpResponse, Problem> {
        if transport == Transport::Cookie {
            self.settings.cookies.set(&mut response, ACCESS, "", 0)?;
            self.clear_refresh_tokens(&mut response, "")?;
        }
        Ok(response)
    }

    /// The same for an error: only a final one clears the cookies.
    ///
    /// # Errors
    /// Every other error is returned unchanged.
    pub(crate) fn respond_with_error(
        &self,
        problem: Problem,
        transport: Transport,
    ) -> Result<HttpResponse, Problem> {
        // Another client's session continues, and so does its cookie.
        let is_final = problem.code().status() == StatusCode::UNAUTHORIZED
            && !problem.has_reason(Refusal::WrongClient.as_str());
        if is_final {
            return self.clear(problem.error_response(), transport);
        }
        Err(problem)
    }

    fn clear_refresh_tokens(
        &self,
        response: &mut HttpResponse,
        except: &str,
    ) -> Result<(), Problem> {
        let mut old = self.refresh.iter().map(|(name, _)| name).filter(|name| *name != except);
        old.try_for_each(|name| self.settings.cookies.set(response, name, "", 0))
    }

    const fn any(&self) -> bool {
        self.access.is_some() || !self.refresh.is_empty()
    }
}

impl FromRequest for Cookies {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

/// The cookies of a header field, as browsers write them (RFC 6265bis 4.2.1). Only spaces and tabs
/// are trimmed: characters that a looser parser treats as blanks may precede a name, and such a
/// name is not a `__Host-` cookie to the browser, so any neighbour under the same domain may set
/// it.
fn pairs(field: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    field.split(|byte| *byte == b';').filter_map(|pair| {
        let pair = str::from_utf8(pair).ok().filter(|pair| pair.is_ascii())?;
        let (name, value) = pair.split_once('=')?;
        Some((name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t'])))
    })
}

fn name_of_refresh_token(texts: &TokenTexts) -> String {
    format!("{REFRESH}{}-{}", texts.session.uuid().simple(), texts.generation)
}

fn is_of_refresh_token(name: &str) -> bool {
    let parts = name.strip_prefix(REFRESH).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(session, generation)| {
        let is_id = session.len() == 32 && Uuid::parse_str(session).is_ok();
        is_id && generation.parse::<u32>().is_ok_and(|number| number.to_string() == generation)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cookies_are_kept_for_https_and_for_this_machine() {
        let secure_context = |url| CookiePolicy::new(url, SameSite::Lax, Vec::new()).secure_context;
        for url in [
            "https://login.example.com",
            "http://localhost:8080",
            "http://app.localhost",
            "http://127.0.0.1:1",
            "http://127.8.9.1",
            "http://[::1]:8080/auth",
        ] {
            assert!(secure_context(url), "{url}");
        }
        for url in [
            "http://login.example.com",
            "http://localhost.example.com",
            "http://mylocalhost",
            "http://10.0.0.1",
            "http://0.0.0.0:8080",
            "http://[::]:8080",
            "",
        ] {
            assert!(!secure_context(url), "{url}");
        }
    }

    #[test]
    fn the_origin_of_the_public_url_has_no_path_and_no_default_port() {
        let policy = CookiePolicy::new("https://example.com:443/auth", SameSite::Lax, Vec::new());
        assert!(policy.is_own(b"https://example.com"));
        assert!(!policy.is_own(b"https://example.com:443"));
        assert!(!policy.is_own(b"http://example.com"));
    }

    #[test]
    fn only_exact_cookie_names_match() {
        let session = "019ab3d471f07c449b1d60f2a8d3e517";
        assert!(is_of_refresh_token(&format!("{REFRESH}{session}-0")));
        assert!(is_of_refresh_token(&format!("{REFRESH}{session}-4294967295")));
        for rest in [
            "",
            session,
            "-0",
            "x-0",
            &format!("{session}-"),
            &format!("{session}-00"),
            &format!("{session}-+1"),
            &format!("{session}-4294967296"),
            &format!("{session}-1-1"),
            &format!("{session}0-1"),
        ] {
            assert!(!is_of_refresh_token(&format!("{REFRESH}{rest}")), "{rest}");
        }
        assert!(!is_of_refresh_token(&format!("doorward-refresh-{session}-0")));
    }

    proptest! {
        #[test]
        fn a_name_that_was_written_is_read_and_no_other(
            session: u128,
            generation: u32,
            odd in "[0-9a-fA-F{}-]{0,50}",
        ) {
            let id = Uuid::from_u128(session).simple().to_string();
            let own = format!("{REFRESH}{id}-{generation}");
            prop_assert!(is_of_refresh_token(&own));
            let name = format!("{REFRESH}{odd}");
            if is_of_refresh_token(&name) {
                let (id, generation) = odd.split_once('-').unwrap();
                prop_assert_eq!(Uuid::parse_str(id).unwrap().simple().to_string(), id.to_lowercase());
                prop_assert_eq!(generation.parse::<u32>().unwrap().to_string(), generation);
            }
        }

        #[test]
        fn cookies_are_parsed_among_others(
            value in "[A-Za-z0-9_.-]{1,40}",
            before in prop::collection::vec(any::<Vec<u8>>(), 0..4),
            after in any::<Vec<u8>>(),
        ) {
            let own = format!("{ACCESS}={value}").into_bytes();
            let others = before.into_iter().map(|it| it.into_iter().filter(|b| *b != b';').collect());
            let all: Vec<Vec<u8>> = others.chain([own, after]).collect();
            let field = all.join(&b"; "[..]);
            let found: Vec<_> = pairs(&field).collect();
            prop_assert!(found.contains(&(ACCESS, value.as_str())));
            for (name, value) in found {
                prop_assert!(name.is_ascii() && value.is_ascii());
                prop_assert!(!name.contains(['=', ';']) && !value.contains(';'));
            }
        }
    }
}
