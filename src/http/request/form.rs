//! Forms: the input of the OAuth endpoints (RFC 6749 3.2).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use actix_web::HttpRequest;
use actix_web::dev::Payload;

use super::json;
use crate::http::problem::{Code, Problem};
use crate::secret::Secret;

/// The media type of a form.
const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// The parameters of a form, each at most once. Unknown ones are ignored.
#[derive(Debug)]
pub(in crate::http) struct Form(HashMap<String, Secret<String>>);

impl Form {
    /// The form in a request's body.
    pub(crate) fn read(
        request: &HttpRequest,
        payload: &mut Payload,
    ) -> impl Future<Output = Result<Self, Problem>> + 'static {
        let acceptable = json::has_content_type(request.headers(), MEDIA_TYPE);
        let body = json::read(request, payload.take());
        async move {
            if !acceptable {
                let detail = format!("Send the body as {MEDIA_TYPE}, without a Content-Encoding.");
                return Err(Problem::new(Code::UnsupportedMediaType).detail(detail));
            }
            Self::parse(&body.await?)
        }
    }

    fn parse(body: &[u8]) -> Result<Self, Problem> {
        // The mark would become part of the first parameter's name, and that parameter would
        // silently be missing.
        if body.starts_with(json::BOM) {
            return Err(malformed(json::BOM_DETAIL));
        }
        let mut parameters = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            match parameters.entry(name.into_owned()) {
                Entry::Vacant(place) => place.insert(Secret::new(value.into_owned())),
                // RFC 6749 3.2: with a duplicate, two parsers could each use a different one.
                Entry::Occupied(_) => return Err(malformed("A parameter appears twice.")),
            };
        }
        Ok(Self(parameters))
    }

    /// A parameter; one without a value is treated as absent (RFC 6749 3.2).
    ///
    /// # Errors
    /// `malformed_request` for characters other than visible ASCII (RFC 6749 A).
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<Secret<String>>, Problem> {
        match self.0.remove(name).filter(|value| !value.expose().is_empty()) {
            Some(value) if value.expose().bytes().all(|b| matches!(b, b' '..=b'~')) => {
                Ok(Some(value))
            }
            Some(_) => Err(malformed("A parameter contains characters other than visible ASCII.")),
            None => Ok(None),
        }
    }

    /// A parameter with any characters, as a person typed it; `None` for an empty one.
    pub(crate) fn take_text(&mut self, name: &str) -> Option<Secret<String>> {
        self.0.remove(name).filter(|value| !value.expose().is_empty())
    }

    /// A required parameter.
    ///
    /// # Errors
    /// `malformed_request` when it is missing.
    pub(crate) fn required(&mut self, name: &'static str) -> Result<Secret<String>, Problem> {
        self.take(name)?.ok_or_else(|| malformed(format!("The parameter {name} is missing.")))
    }
}

/// The `invalid_request` of RFC 6749.
pub(in crate::http) fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Code::MalformedRequest).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_strictly() {
        let mut form = Form::parse(b"a=1+2%26&empty=&odd=%ff&nul=%00&%61b=x").unwrap();
        assert_eq!(form.take("a").unwrap().unwrap().expose(), "1 2&");
        assert_eq!(form.take("ab").unwrap().unwrap().expose(), "x");
        assert!(form.take("empty").unwrap().is_none());
        assert!(form.take("absent").unwrap().is_none());
        assert!(form.required("absent").is_err());
        for odd in ["odd", "nul"] {
            assert_eq!(form.take(odd).unwrap_err().code(), Code::MalformedRequest);
        }
        for twice in [&b"a=1&a=1"[..], b"a=&a=1", b"a=1&%61=2", b"x&x"] {
            assert_eq!(Form::parse(twice).unwrap_err().code(), Code::MalformedRequest);
        }
    }
}
