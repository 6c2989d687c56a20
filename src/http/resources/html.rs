//! HTML pages: each is one document with its own content security policy.

use actix_web::http::header::CONTENT_SECURITY_POLICY;
use actix_web::{HttpResponse, HttpResponseBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::sha256;

/// A page that loads nothing else. Only its own style and script apply, by their hashes.
pub(super) struct Page<'a> {
    /// Its title and heading.
    pub title: &'static str,
    /// The content below the heading, as HTML.
    pub body: &'a str,
    pub style: &'static str,
    pub script: &'static str,
    /// The directives of this page alone, such as `form-action 'self'`.
    pub policy: &'static str,
}

impl Page<'_> {
    /// The response without its body, for further headers.
    pub(super) fn respond(&self) -> HttpResponseBuilder {
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; {}; base-uri 'none'; frame-ancestors \
             'none'",
            source_hash(self.script),
            source_hash(self.style),
            self.policy
        );
        let mut response = HttpResponse::Ok();
        response.insert_header((CONTENT_SECURITY_POLICY, policy));
        response.content_type("text/html; charset=utf-8");
        response
    }

    pub(super) fn text(&self) -> String {
        let Self { title, body, style, script, .. } = self;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta \
             name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>{style}</style></head>\n<body>\n<h1>{title}</h1>\n{body}\
             <script>{script}</script>\n</body>\n</html>\n"
        )
    }
}

/// A script or style as a source of a content security policy (CSP Level 3, 2.3.1).
pub(super) fn source_hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(sha256(text.as_bytes())))
}

/// Text as the content of an element or of an attribute in double quotes.
pub(super) fn escaped(text: &str) -> String {
    let escape = |c| match c {
        '&' => String::from("&amp;"),
        '<' => String::from("&lt;"),
        '>' => String::from("&gt;"),
        '"' => String::from("&quot;"),
        c => String::from(c),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_cannot_end_an_attribute() {
        assert_eq!(escaped("\"><script>&"), "&quot;&gt;&lt;script&gt;&amp;");
    }
}
