//! Strict JSON bodies.
//!
//! Two parsers that read one document differently make checks bypassable, so all ambiguities of
//! JSON are rejected here: duplicate members, unknown members, a byte order mark, NUL in strings,
//! deep nesting, a body in another encoding. Errors about a rejected body name positions in it and
//! never its values, which may be passwords.

mod body;
#[cfg(test)]
mod tests;
mod type_errors;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

pub(in crate::http) use body::{has_content_type, read};

use crate::http::problem::{Code, Problem};
use crate::tokens::strict_json::{self, Rules};
use type_errors::describe_type_error;

const RULES: Rules = Rules { max_depth: 16, allow_nul: false };

/// A required body. Its type should `deny_unknown_fields`.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let acceptable = check_type(request.headers());
        let body = read(request, payload.take());
        Box::pin(async move {
            acceptable?;
            parse(&body.await?).map(Self)
        })
    }
}

/// An optional body; an empty one means `T::default()`.
#[derive(Clone, Debug)]
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest for OptionalJson<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let acceptable = check_type(request.headers());
        let body = read(request, payload.take());
        Box::pin(async move {
            let body = body.await?;
            if body.is_empty() {
                return Ok(Self(T::default()));
            }
            acceptable?;
            parse(&body).map(Self)
        })
    }
}

/// Requires `application/json`, in UTF-8 if a charset is given, and not compressed.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    if has_content_type(headers, "application/json") {
        Ok(())
    } else {
        Err(Code::UnsupportedMediaType.into())
    }
}

/// UTF-8's byte order mark.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

pub(super) const BOM_DETAIL: &str =
    "The body begins with a byte order mark (BOM). Send it as UTF-8 without one.";

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.starts_with(BOM) {
        // RFC 8259 8.1: a byte order mark must not be added.
        return Err(malformed(BOM_DETAIL));
    }
    let text = str::from_utf8(body).map_err(|_| malformed("The body is not UTF-8."))?;
    let tree = strict_json::read(text, RULES)
        // The parser's messages name the expectation and the position, and quote nothing.
        .map_err(|error| malformed(format!("The body is not acceptable JSON: {error}.")))?;
    if !tree.is_object() {
        return Err(malformed("The body must be a JSON object."));
    }
    serde_path_to_error::deserialize(tree).map_err(|error| describe_type_error(&error))
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Code::MalformedRequest).detail(detail)
}
