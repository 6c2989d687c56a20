//! Cookie transport: tokens as `HttpOnly` cookies, by `"transport": "cookie"` at `/login`.
//!
//! All of them are `__Host-` cookies: `Secure`, `HttpOnly`, and for this host alone (RFC 6265bis
//! 4.1.3.2). Every resource that takes a token also takes it from a cookie, but a request has one
//! source of credentials: a token in addition to a cookie is rejected.
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

mod names;
mod policy;
mod responses;
#[cfg(test)]
mod tests;

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, COOKIE};
use actix_web::{FromRequest, HttpRequest, web};
use serde::Deserialize;

pub use names::{ACCESS, REFRESH};
pub use policy::CookiePolicy;

use super::credentials::BearerToken;
use super::csrf;
use crate::http::HttpSettings;
use crate::http::problem::{Code, Problem};
use crate::secret::Secret;
use names::{is_of_refresh_token, pairs};

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
