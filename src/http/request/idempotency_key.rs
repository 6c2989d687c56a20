//! The `Idempotency-Key` header.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpRequest};

use crate::http::problem::{Code, Problem};
use crate::secret::Secret;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The `Idempotency-Key` of a request, if there is one: 16 to 255 visible ASCII characters.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(Option<Secret<String>>);

impl IdempotencyKey {
    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.0.as_ref().map(|key| key.expose().as_bytes())
    }
}

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse_key(request.headers()).ok_or_else(|| {
            let detail =
                "Idempotency-Key must be one header of 16 to 255 visible ASCII characters.";
            Problem::new(Code::MalformedRequest).detail(detail)
        }))
    }
}

/// `None` when the header is not a valid key.
fn parse_key(headers: &HeaderMap) -> Option<IdempotencyKey> {
    let mut fields = headers.get_all(IDEMPOTENCY_KEY);
    let Some(field) = fields.next() else {
        return Some(IdempotencyKey(None));
    };
    let text = str::from_utf8(field.as_bytes()).ok()?;
    let is_key = (16..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    (is_key && fields.next().is_none()).then(|| IdempotencyKey(Some(Secret::new(text.to_owned()))))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn an_idempotency_key_has_a_length_and_an_alphabet() {
        let key = |text: &str| {
            let request = TestRequest::default().insert_header((IDEMPOTENCY_KEY, text));
            parse_key(request.to_http_request().headers())
                .map(|key| key.0.map(|key| key.expose().clone()))
        };
        assert_eq!(key(&"k".repeat(16)), Some(Some("k".repeat(16))));
        for odd in [&"k".repeat(15), &"k".repeat(256), "with a space in it!"] {
            assert_eq!(key(odd), None, "{odd}");
        }
    }
}
