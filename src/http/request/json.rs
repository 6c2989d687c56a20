//! Strict JSON bodies.
//!
//! Two parsers that read one document differently make checks bypassable, so all ambiguities of
//! JSON are rejected here: duplicate members, unknown members, a byte order mark, NUL in strings,
//! deep nesting, a body in another encoding. Errors about a rejected body name positions in it and
//! never its values, which may be passwords.

use std::future::Future;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use zeroize::Zeroizing;

use super::body_buffer::BodyBuffer;
use crate::http::HttpSettings;
use crate::http::problem::{Code, Problem};
use crate::tokens::strict_json::{self, Rules};

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

/// Whether the body has this type, in UTF-8 if a charset is given, and is not compressed.
pub(in crate::http) fn has_content_type(headers: &HeaderMap, media_type: &str) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE);
    let is_so = types
        .next()
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| is_type(value, media_type));
    let is_plain = headers
        .get_all(CONTENT_ENCODING)
        .all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    is_so && is_plain && types.next().is_none()
}

fn is_type(value: &str, media_type: &str) -> bool {
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case(media_type)
        && parts.all(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("charset")
                    && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
        })
}

/// The bytes of a body, within the limits of size and time.
pub(in crate::http) fn read(
    request: &HttpRequest,
    mut payload: Payload,
) -> impl Future<Output = Result<Zeroizing<Vec<u8>>, Problem>> + 'static {
    let settings = request.app_data::<web::Data<HttpSettings>>().cloned();
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    async move {
        let settings = settings.ok_or(Code::InternalError)?;
        let most = settings.max_body_bytes;
        if announced.is_some_and(|length| length > most) {
            return Err(too_large(most));
        }
        let mut body = BodyBuffer::new(most);
        let collect = async {
            while let Some(chunk) = payload.next().await {
                let chunk = chunk.map_err(|error| broken(&error))?;
                if !body.push(&chunk) {
                    return Err(too_large(most));
                }
            }
            Ok(())
        };
        tokio::time::timeout(settings.body_timeout, collect)
            .await
            .map_err(|_| Problem::new(Code::RequestTimeout))??;
        Ok(body.into_bytes())
    }
}

/// UTF-8's byte order mark.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

pub(super) const BOM_DETAIL: &str =
    "The body begins with a byte order mark (BOM). Send it as UTF-8 without one.";

fn too_large(most: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge).detail(format!("The body may have at most {most} bytes."))
}

fn broken(error: &PayloadError) -> Problem {
    Problem::new(Code::MalformedRequest).detail(match error {
        PayloadError::Incomplete(_) => "The body ended before its announced length.",
        _ => "The body could not be read.",
    })
}

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

/// Names the member that does not fit. Serde's own message would quote the value.
fn describe_type_error(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let message = error.inner().to_string();
    let at = pointer(error.path());
    let quoted = || message.split('`').nth(1).unwrap_or_default();
    let (at, detail) = if message.starts_with("missing field") {
        (format!("{at}/{}", escape(quoted())), String::from("This member is required."))
    } else if message.starts_with("unknown field") {
        let at = if at.is_empty() { format!("/{}", escape(quoted())) } else { at };
        (at, String::from("Unknown field."))
    } else if let Some((_, expected)) = message.rsplit_once(", expected ") {
        (at, format!("Expected {expected}."))
    } else {
        (at, String::from("This value is not acceptable."))
    };
    Problem::new(Code::MalformedRequest)
        .detail("The body does not match the expected schema.")
        .field(at, detail)
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escape(key)),
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
}

/// Long names are cut: they come from the caller.
fn escape(name: &str) -> String {
    name.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Login {
        email: String,
        password: String,
        count: Option<u32>,
        #[serde(default)]
        deep: Vec<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        id: u8,
    }

    fn refusal(body: &[u8]) -> String {
        let problem = parse::<Login>(body).unwrap_err();
        assert_eq!(problem.code(), Code::MalformedRequest);
        format!("{problem:#?}")
    }

    #[test]
    fn a_valid_body_is_parsed() {
        let login: Login = parse(br#"{"email":"a","password":"\ud83d\ude00","count":3}"#).unwrap();
        assert_eq!((login.password.as_str(), login.count), ("\u{1f600}", Some(3)));
    }

    #[test]
    fn ambiguous_json_is_rejected() {
        let deep = [b"{\"email\":".as_slice(), &b"[".repeat(100_000)].concat();
        for (body, why) in [
            (&br#"{"email":"a","email":"b"}"#[..], "twice at line 1 column 20"),
            (br#"{"deep":[{"id":1,"id":2}]}"#, "twice"),
            (br#"{"email":"a\u0000"}"#, "NUL"),
            (br#"{"em\u0000ail":"a"}"#, "NUL"),
            (br#"{"email":"\ud800"}"#, "line 1"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"{\"email\":\"\xff\"}", "UTF-8"),
            (br#"{"email":"a"} {}"#, "trailing"),
            (b"[]", "object"),
            (b"", "line 1"),
            (&deep, "nested too deeply"),
        ] {
            let shown = refusal(body);
            assert!(shown.contains(why), "{why}: {shown}");
        }
    }

    #[test]
    fn a_member_that_does_not_fit_is_named_and_its_value_is_not() {
        for (body, pointer, detail) in [
            (&br#"{"email":"a"}"#[..], "/password", "required"),
            (br#"{"email":7,"password":"hunter2"}"#, "/email", "Expected a string"),
            (
                br#"{"email":"a","password":"x","count":"hunter2, expected b"}"#,
                "/count",
                "Expected u32",
            ),
            (
                br#"{"email":"a","password":"hunter2","is/admin":true}"#,
                "/is~1admin",
                "Unknown \
                                                                                      field",
            ),
            (
                br#"{"email":"a","password":"hunter2","deep":[{"id":1},{}]}"#,
                "/deep/1/id",
                "required",
            ),
            (
                br#"{"email":"a","password":"hunter2","deep":[{"id":300}]}"#,
                "/deep/0/id",
                "Expected u8",
            ),
        ] {
            let shown = refusal(body);
            assert!(shown.contains(&format!("\"{pointer}\"")), "{pointer}: {shown}");
            assert!(shown.contains(detail), "{detail}: {shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn only_plain_json_is_json() {
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
        ] {
            assert!(is_type(good, "application/json"), "{good}");
        }
        for bad in [
            "text/plain",
            "application/json; charset=latin1",
            "application/json; x=y",
            "application/jsonp",
            "",
        ] {
            assert!(!is_type(bad, "application/json"), "{bad}");
        }
    }
}
