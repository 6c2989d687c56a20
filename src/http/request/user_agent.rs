//! The `User-Agent` header.

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderValue, USER_AGENT};

/// The maximum number of characters of a user agent that are stored.
const USER_AGENT_CHARS: usize = 256;

/// The user agent: trimmed, without control characters, of bounded length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAgent(pub Option<String>);

impl UserAgent {
    /// The user agent of a request.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Self {
        let header = request.headers().get(USER_AGENT).map(HeaderValue::as_bytes);
        Self(header.and_then(clean))
    }
}

fn clean(raw: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(raw);
    let printable: String = text.chars().filter(|c| !c.is_control()).collect();
    let kept: String = printable.trim().chars().take(USER_AGENT_CHARS).collect();
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_user_agent_is_cleaned() {
        assert_eq!(clean(b"  curl/8\x07 "), Some(String::from("curl/8")));
        assert_eq!(clean(b" "), None);
        assert_eq!(clean("ü".repeat(300).as_bytes()), Some("ü".repeat(256)));
    }

    #[test]
    fn a_user_agent_of_any_bytes_is_cleaned() {
        proptest!(|(bytes in any::<Vec<u8>>())| {
            if let Some(text) = clean(&bytes) {
                prop_assert!(!text.is_empty() && text.chars().count() <= USER_AGENT_CHARS);
                prop_assert!(!text.contains(char::is_control));
                prop_assert_eq!(clean(text.as_bytes()).map(|it| it.len()), Some(text.len()));
            }
        });
    }
}
