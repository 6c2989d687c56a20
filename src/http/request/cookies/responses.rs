//! Responses that set or clear cookies.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError as _};
use cookie::SameSite;

use super::names::name_of_refresh_token;
use super::{ACCESS, Cookies, Transport};
use crate::http::problem::{Code, Problem};
use crate::sessions::refresh::Refusal;
use crate::sessions::{AccessToken, Tokens};

impl Cookies {
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

    /// The response with a new access token, in the body or in its cookie.
    ///
    /// # Errors
    /// `internal_error` for a cookie that is not a valid header value; none here is one.
    pub(crate) fn respond_with_access_token(
        &self,
        mut token: AccessToken,
        transport: Transport,
    ) -> Result<HttpResponse, Problem> {
        if transport == Transport::Body {
            return Ok(HttpResponse::Ok().json(token));
        }
        let (text, expires_in) = token.take_text();
        let mut response = HttpResponse::Ok().json(token);
        self.settings.cookies.set(&mut response, ACCESS, text.expose(), expires_in)?;
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

    /// The response for an error: only a final error clears the cookies.
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
}
