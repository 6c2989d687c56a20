//! Error responses: `application/problem+json` (RFC 9457).
//!
//! Every error has a [`Code`], which never changes once it is published; the text beside it may.
//! The outermost middleware adds the request's id to the document.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($name:ident $text:literal $status:ident $detail:literal;)+) => {
        /// The stable name of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $detail] $name,)+
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code as the caller sees it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The status of the response.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// The default detail of a problem with this code.
            #[must_use]
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$name => $detail,)+ }
            }
        }
    };
}

codes! {
    MalformedRequest "malformed_request" BAD_REQUEST
        "The request is malformed.";
    InvalidFields "invalid_fields" UNPROCESSABLE_ENTITY
        "Some members of the body are invalid.";
    TokenInQuery "token_in_query" BAD_REQUEST
        "A token must not be sent in the query string, where logs keep it. Consider it \
         compromised.";
    MultipleCredentials "multiple_credentials" BAD_REQUEST
        "The request carries more than one credential.";
    CookiesNeedHttps "cookies_need_https" BAD_REQUEST
        "Browsers store these cookies for https and for localhost only. Serve Doorward over https \
         and set public_url to that URL, or log in without cookies.";
    CookiesBlocked "cookies_blocked" BAD_REQUEST
        "The browser would drop the cookies: page and service belong to different sites. Open the \
         page under the host name that it uses for the service (localhost and 127.0.0.1 are two \
         sites), or set cookies.same_site to none, which needs https.";
    InvalidCredentials "invalid_credentials" UNAUTHORIZED
        "The e-mail address or the password is wrong.";
    MissingToken "missing_token" UNAUTHORIZED
        "Send an access token in the Authorization header, with the scheme Bearer, or in the cookie \
         of a login with cookies; from a page, call fetch with credentials: 'include'.";
    InvalidToken "invalid_token" UNAUTHORIZED
        "The access token is not valid.";
    TokenExpired "token_expired" UNAUTHORIZED
        "The access token has expired.";
    TokenRevoked "token_revoked" UNAUTHORIZED
        "The access token was revoked.";
    InvalidClient "invalid_client" UNAUTHORIZED
        "The client is unknown, or its credentials are wrong or missing.";
    UnknownClient "unknown_client" BAD_REQUEST
        "There is no public client with this id.";
    UnsupportedGrantType "unsupported_grant_type" BAD_REQUEST
        "The grant type is not one of those in the metadata.";
    InvalidScope "invalid_scope" BAD_REQUEST
        "The scope exceeds the one that may be granted.";
    InvalidGrant "invalid_grant" UNAUTHORIZED
        "The refresh token is no longer valid. Log in again.";
    WrongPassword "wrong_password" FORBIDDEN
        "The password is wrong.";
    CsrfRefused "csrf_refused" FORBIDDEN
        "A request with cookies must come from a page of this origin or of a listed one, and say so \
         in Sec-Fetch-Site or Origin.";
    Forbidden "forbidden" FORBIDDEN
        "This is not allowed.";
    NotFound "not_found" NOT_FOUND
        "There is nothing here.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED
        "This resource does not support the method; see the Allow header.";
    RequestTimeout "request_timeout" REQUEST_TIMEOUT
        "The request took too long to arrive.";
    EmailTaken "email_taken" CONFLICT
        "An account with this e-mail address exists.";
    PayloadTooLarge "payload_too_large" PAYLOAD_TOO_LARGE
        "The body is too large.";
    UriTooLong "uri_too_long" URI_TOO_LONG
        "The URI is too long.";
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE
        "Send the body as application/json in UTF-8, without a Content-Encoding.";
    ExpectationFailed "expectation_failed" EXPECTATION_FAILED
        "The only supported expectation is 100-continue.";
    HeadersTooLarge "headers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE
        "The header fields are too large.";
    RateLimited "rate_limited" TOO_MANY_REQUESTS
        "Too many requests. Try again later.";
    TooManyFailedLogins "too_many_failed_logins" TOO_MANY_REQUESTS
        "Too many failed logins. Try again later.";
    InternalError "internal_error" INTERNAL_SERVER_ERROR
        "Something went wrong. The log has details under the request's id.";
    Overloaded "overloaded" SERVICE_UNAVAILABLE
        "The service is overloaded. Try again later.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE
        "The service is temporarily unavailable. Try again later.";
    RevocationsStale "revocations_stale" SERVICE_UNAVAILABLE
        "Revocation status is temporarily unavailable. Keep the token and retry.";
    NotReady "not_ready" SERVICE_UNAVAILABLE
        "This node is not ready.";
}

impl Code {
    /// The code for a bare status: from actix itself, a middleware or an extractor.
    #[must_use]
    pub fn for_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::MissingToken,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited,
            _ if status.is_server_error() => Self::InternalError,
            _ => *Self::ALL
                .iter()
                .find(|code| code.status() == status && **code != Self::EmailTaken)
                .unwrap_or(&Self::MalformedRequest),
        }
    }

    /// Whether the caller should keep its tokens and retry the same request automatically. A login
    /// rejected for too many wrong passwords is for its user to retry.
    #[must_use]
    pub fn is_transient(self) -> bool {
        self.has_retry_after() && self != Self::TooManyFailedLogins
    }

    /// Whether the response has a Retry-After.
    fn has_retry_after(self) -> bool {
        matches!(
            self.status(),
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::SERVICE_UNAVAILABLE
        )
    }

    /// The RFC 6749 error code (5.2; 4.1.2.1 for the server's errors).
    fn oauth_error(self) -> &'static str {
        match self {
            Self::InvalidCredentials | Self::InvalidGrant => "invalid_grant",
            Self::InvalidClient | Self::UnknownClient => "invalid_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            _ if self.has_retry_after() => "temporarily_unavailable",
            _ if self.status().is_server_error() => "server_error",
            _ => "invalid_request",
        }
    }

    /// The status of an error in this format.
    fn status_in(self, form: ErrorFormat) -> StatusCode {
        match self {
            // RFC 6749 5.2: 401 is for the client's own authentication.
            Self::InvalidGrant if form == ErrorFormat::OAuth => StatusCode::BAD_REQUEST,
            _ => self.status(),
        }
    }

    /// Its challenge (RFC 6750 3): every 401 has one, with `invalid_token` only if the request had
    /// a token.
    fn challenge(self) -> Option<String> {
        let error = match self {
            Self::InvalidToken | Self::TokenExpired | Self::TokenRevoked => "invalid_token",
            Self::MultipleCredentials | Self::TokenInQuery => "invalid_request",
            // RFC 6749 5.2: in the scheme that the client has to use.
            Self::InvalidClient => return Some(String::from(r#"Basic realm="doorward""#)),
            _ if self.status() == StatusCode::UNAUTHORIZED => {
                return Some(String::from(r#"Bearer realm="doorward""#));
            }
            _ => return None,
        };
        let description = self.detail();
        Some(format!(
            r#"Bearer realm="doorward", error="{error}", error_description="{description}""#
        ))
    }
}

/// The format of an error; the middleware chooses it by the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// A problem document.
    Problem,
    /// A problem document with the members of RFC 6749 as well, for OAuth clients.
    ProblemWithOAuth,
    /// The plain JSON of RFC 6749 5.2, which OAuth clients require.
    OAuth,
}

/// An error to be sent to the caller.
#[derive(Clone, Debug)]
pub struct Problem(Box<Content>);

#[derive(Clone, Debug)]
struct Content {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    reason: Option<&'static str>,
    retry_after: Duration,
}

#[derive(Clone, Debug, Serialize)]
struct FieldError {
    pointer: String,
    detail: Cow<'static, str>,
}

impl Problem {
    /// A problem with its code's default detail.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self(Box::new(Content {
            code,
            detail: Cow::Borrowed(code.detail()),
            errors: Vec::new(),
            reason: None,
            retry_after: Duration::from_secs(1),
        }))
    }

    /// Sets the detail: one sentence that quotes nothing secret.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Adds an error about one member of the body; `pointer` is its JSON pointer (RFC 6901).
    #[must_use]
    pub fn field(
        mut self,
        pointer: impl Into<String>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.0.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// Sets why a session has ended.
    #[must_use]
    pub fn reason(mut self, reason: &'static str) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// Whether it has this reason.
    #[must_use]
    pub fn has_reason(&self, reason: &str) -> bool {
        self.0.reason == Some(reason)
    }

    /// Sets when to retry, rounded up to whole seconds; only 408, 429 and 503 send it.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = wait;
        self
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.0.code
    }

    /// The response, with the id of the request if it is known.
    #[must_use]
    pub fn response(&self, request_id: Option<&str>, form: ErrorFormat) -> HttpResponse {
        let mut response = HttpResponse::build(self.0.code.status_in(form));
        for header in self.headers(form) {
            response.insert_header(header);
        }
        let mut response = if form == ErrorFormat::OAuth {
            response.content_type("application/json").body(self.oauth_document())
        } else {
            response.content_type(MEDIA_TYPE).body(self.document(request_id, form))
        };
        // For the middleware, which rewrites it with the request's id. An error inside a response
        // does not survive every middleware; extensions do.
        response.extensions_mut().insert(self.clone());
        response
    }

    /// The headers of its response.
    pub(super) fn headers(&self, form: ErrorFormat) -> impl Iterator<Item = (HeaderName, String)> {
        let code = self.0.code;
        let retry_after = whole_seconds(self.0.retry_after).to_string();
        let retry_after = code.has_retry_after().then_some((RETRY_AFTER, retry_after));
        // An OAuth endpoint does not accept bearer tokens.
        let challenged = form != ErrorFormat::OAuth || code == Code::InvalidClient;
        let challenge = code.challenge().filter(|_| challenged);
        let challenge = challenge.map(|challenge| (WWW_AUTHENTICATE, challenge));
        retry_after.into_iter().chain(challenge)
    }

    /// The document, as JSON.
    pub(super) fn document(&self, request_id: Option<&str>, form: ErrorFormat) -> String {
        let content = &*self.0;
        let (code, status) = (content.code, content.code.status());
        let document = Document {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &content.detail,
            code: code.as_str(),
            request_id,
            errors: &content.errors,
            reason: content.reason,
            error: (form == ErrorFormat::ProblemWithOAuth).then(|| code.oauth_error()),
            transient: code.is_transient(),
        };
        // Text, numbers and lists of them can always be written as JSON.
        serde_json::to_string(&document).unwrap_or_default()
    }

    fn oauth_document(&self) -> String {
        // RFC 6749 5.2: %x20-21 / %x23-5B / %x5D-7E.
        let plain = |c: char| if matches!(c, ' '..='~') && !"\"\\".contains(c) { c } else { '\'' };
        let description: String = self.0.detail.chars().map(plain).collect();
        serde_json::json!({ "error": self.0.code.oauth_error(), "error_description": description })
            .to_string()
    }
}

/// `Retry-After` has whole seconds only, and zero would invite an immediate retry.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    transient: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code.as_str())
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.response(None, ErrorFormat::Problem)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_code_is_snake_case_and_an_error() {
        for code in Code::ALL {
            assert!(code.as_str().bytes().all(|b| b == b'_' || b.is_ascii_lowercase()));
            assert!(code.status().as_u16() >= 400);
            // It is quoted in WWW-Authenticate.
            assert!(code.detail().bytes().all(|b| b.is_ascii() && b != b'"' && b != b'\\'));
        }
    }

    #[test]
    fn a_bare_status_keeps_its_status() {
        for code in Code::ALL {
            if !matches!(code, Code::EmailTaken) {
                assert_eq!(Code::for_status(code.status()).status(), code.status());
            }
        }
        assert_eq!(Code::for_status(StatusCode::IM_A_TEAPOT), Code::MalformedRequest);
        assert_eq!(Code::for_status(StatusCode::BAD_GATEWAY), Code::InternalError);
    }

    #[test]
    fn a_wait_is_rounded_up_and_never_nothing() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
    }

    proptest! {
        #[test]
        fn a_document_is_faithful_and_its_headers_are_valid(
            code in prop::sample::select(Code::ALL),
            detail in any::<String>(),
            pointer in any::<String>(),
            id in prop::option::of(any::<String>()),
            wait in any::<Duration>(),
            form in prop::sample::select(vec![ErrorFormat::Problem, ErrorFormat::ProblemWithOAuth, ErrorFormat::OAuth]),
        ) {
            let wait = wait.min(Duration::from_secs(u64::from(u32::MAX)));
            let problem = Problem::new(code)
                .detail(detail.clone())
                .field(pointer.clone(), detail.clone())
                .retry_after(wait);
            for (_, value) in problem.headers(form) {
                prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", value);
            }
            let said: serde_json::Value =
                serde_json::from_str(&problem.document(id.as_deref(), form)).unwrap();
            prop_assert_eq!(&said["detail"], &detail);
            prop_assert_eq!(&said["errors"][0]["pointer"], &pointer);
            prop_assert_eq!(&said["code"], code.as_str());
            prop_assert_eq!(said["request_id"].as_str(), id.as_deref());
            prop_assert_eq!(&said["status"], code.status().as_u16());
            prop_assert_eq!(said["transient"] == true, code.is_transient());
            let said: serde_json::Value = serde_json::from_str(&problem.oauth_document()).unwrap();
            let text = said["error_description"].as_str().unwrap();
            prop_assert_eq!(text.chars().count(), detail.chars().count());
            prop_assert!(text.chars().all(|c| matches!(c, ' '..='~') && !"\"\\".contains(c)));
            prop_assert!(problem.response(id.as_deref(), form).status().as_u16() >= 400);
        }
    }
}
