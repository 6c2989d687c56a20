//! The bearer token of a request (RFC 6750 2.1).

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;

use crate::http::problem::{Code, Problem};
use crate::secret::Secret;

/// The maximum length of a bearer token, in bytes; Doorward's have at most 4,000
/// (`tokens.max_bytes`).
const TOKEN_BYTES: usize = 4096;

/// The text of a bearer token (RFC 6750 2.1); only its alphabet was checked.
#[derive(Clone, Debug)]
pub struct BearerToken(Secret<String>);

impl BearerToken {
    /// The token's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.expose()
    }

    /// The token of a request, if there is one.
    ///
    /// # Errors
    /// `multiple_credentials` for a second header, `invalid_token` for a malformed token,
    /// `missing_token` for another scheme.
    pub fn of(request: &HttpRequest) -> Result<Option<Self>, Problem> {
        let mut fields = request.headers().get_all(AUTHORIZATION);
        let Some(field) = fields.next() else {
            return Ok(None);
        };
        if fields.next().is_some() {
            return Err(Code::MultipleCredentials.into());
        }
        let text = str::from_utf8(field.as_bytes()).map_err(|_| Code::InvalidToken)?;
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return Err(Problem::new(Code::MissingToken).detail(if token.is_empty() {
                "Authorization has no scheme. Send it as Authorization: Bearer <token>."
            } else {
                "Authorization has another scheme. Send it as Authorization: Bearer <token>."
            }));
        }
        Self::parse(token.trim_matches(' ')).map(Some)
    }

    /// A token from another source.
    ///
    /// # Errors
    /// `invalid_token` for a malformed one.
    pub fn parse(token: &str) -> Result<Self, Problem> {
        if !is_b64token(token) {
            return Err(Code::InvalidToken.into());
        }
        Ok(Self(Secret::new(token.to_owned())))
    }
}

fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && text.len() <= TOKEN_BYTES
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    fn bearer(field: &str) -> Result<Option<String>, Code> {
        let request =
            TestRequest::default().insert_header((AUTHORIZATION, field)).to_http_request();
        BearerToken::of(&request)
            .map(|token| token.map(|token| token.as_str().to_owned()))
            .map_err(|problem| problem.code())
    }

    #[test]
    fn a_bearer_token_has_its_own_alphabet() {
        assert_eq!(bearer("bEaReR  a.b-c_~+/=="), Ok(Some(String::from("a.b-c_~+/=="))));
        for odd in ["Bearer", "Bearer ", "Bearer a b", "Bearer a=b", "Bearer \"a\"", "Bearer ="] {
            assert_eq!(bearer(odd), Err(Code::InvalidToken), "{odd}");
        }
        assert_eq!(bearer("Basic YTpi"), Err(Code::MissingToken));
    }

    #[test]
    fn a_bearer_token_of_any_bytes_is_ascii_or_rejected() {
        proptest!(|(bytes in any::<Vec<u8>>())| {
            if let Ok(token) = BearerToken::parse(&String::from_utf8_lossy(&bytes)) {
                prop_assert!(token.as_str().is_ascii());
            }
        });
    }
}
