//! Error responses: `application/problem+json` (RFC 9457).
//!
//! Every error has a [`Code`], which never changes once it is published; the text beside it may.
//! The outermost middleware adds the request's id to the document.

mod code;
mod rules;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

pub use code::Code;
pub use rules::ErrorFormat;

use crate::secret::Secret;

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

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
    next_step: NextStep,
}

/// Members with which a client continues; `max_age` is in the challenge, too.
#[derive(Clone, Debug, Default)]
struct NextStep {
    factor_token: Option<Secret<String>>,
    factors: Vec<&'static str>,
    enrol_token: Option<Secret<String>>,
    max_age: Option<u64>,
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
            next_step: NextStep::default(),
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

    /// Adds the token of an unfinished login, and the second factors of the account.
    #[must_use]
    pub fn factor_token(mut self, token: Secret<String>, factors: Vec<&'static str>) -> Self {
        self.0.next_step.factor_token = Some(token);
        self.0.next_step.factors = factors;
        self
    }

    /// Adds the token for setting up a second factor.
    #[must_use]
    pub fn enrol_token(mut self, token: Option<Secret<String>>) -> Self {
        self.0.next_step.enrol_token = token;
        self
    }

    /// Sets how long ago a login may be, in seconds.
    #[must_use]
    pub fn max_age(mut self, seconds: u64) -> Self {
        self.0.next_step.max_age = Some(seconds);
        self
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

    /// The explanation, for people.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.detail
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
        let max_age = self.0.next_step.max_age;
        // RFC 9470 3.
        let max_age = max_age.map(|it| format!(r#", max_age="{it}""#)).unwrap_or_default();
        let challenge = challenge.map(|challenge| (WWW_AUTHENTICATE, challenge + &max_age));
        retry_after.into_iter().chain(challenge)
    }

    /// The document, as JSON.
    pub(super) fn document(&self, request_id: Option<&str>, form: ErrorFormat) -> String {
        let content = &*self.0;
        let (code, status) = (content.code, content.code.status());
        let next_step = &content.next_step;
        let text = |token: &'_ Option<Secret<String>>| token.as_ref().map(|it| it.expose().clone());
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
            factor_token: text(&next_step.factor_token),
            factors: &next_step.factors,
            enrol_token: text(&next_step.enrol_token),
            max_age: next_step.max_age,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    factor_token: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    factors: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    enrol_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u64>,
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
