//! Rewrites the errors that actix writes itself, for input that never became a request: a malformed
//! or endless head. They are only a status; here they get the form of every other error.

use std::time::{Duration, SystemTime};

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, HttpDate, STRICT_TRANSPORT_SECURITY};
use uuid::Uuid;

use crate::clock::Clock;
use crate::http::middleware::SECURITY_HEADERS;
use crate::http::problem::{Code, ErrorFormat, MEDIA_TYPE, Problem};

/// Longer than a bare error response: a status line and three short fields.
const MAX_HEAD: usize = 1024;

/// Writes error responses with the headers that every response has.
#[derive(Debug)]
pub struct RawErrors {
    /// `Strict-Transport-Security`, when the public URL is https.
    pub hsts: Option<HeaderValue>,
    /// The source of `Date` (RFC 9110 6.6.1: a 4xx has one).
    pub clock: Clock,
}

impl RawErrors {
    /// The complete response that replaces `written`, if that is a bare error.
    ///
    /// The app's own errors have a body, so none of them is mistaken for one.
    pub(in crate::http) fn full_response(&self, written: &[u8]) -> Option<Vec<u8>> {
        let (before, status) = bare_refusal(written)?;
        let date = SystemTime::UNIX_EPOCH
            + Duration::from_micros(
                u64::try_from(self.clock.now().as_micros()).unwrap_or_default(),
            );
        let mut fields = format!("date: {}\r\n", HttpDate::from(date));
        if let Some(hsts) = self.hsts.as_ref().and_then(|hsts| hsts.to_str().ok()) {
            fields = format!("{fields}{STRICT_TRANSPORT_SECURITY}: {hsts}\r\n");
        }
        Some([before, &answer(&Problem::new(Code::for_status(status)), &fields)].concat())
    }
}

/// The bytes before a bare refusal, and its status.
fn bare_refusal(written: &[u8]) -> Option<(&[u8], StatusCode)> {
    const BEGIN: &[u8] = b"HTTP/1.1 ";
    if !written.ends_with(b"\r\n\r\n") {
        return None;
    }
    // If they arrived in one piece, the responses to earlier requests precede it. They may be
    // megabytes, which a slow reader causes to be written again and again.
    let tail = written.len().saturating_sub(MAX_HEAD);
    let begin = tail + written[tail..].windows(BEGIN.len()).rposition(|window| window == BEGIN)?;
    let (before, last) = written.split_at(begin);
    let status = last.get(BEGIN.len()..BEGIN.len() + 3)?;
    let status = StatusCode::from_bytes(status).ok().filter(StatusCode::is_client_error)?;
    let text = str::from_utf8(last).ok()?;
    let is_bare = text.ends_with("\r\n\r\n") && text.contains("\r\ncontent-length: 0\r\n");
    is_bare.then_some((before, status))
}

/// The complete response to a client that speaks plain HTTP on the TLS port. It has no HSTS header,
/// which must not be sent over plain HTTP (RFC 6797 7.2).
pub(in crate::http) fn not_tls() -> Vec<u8> {
    answer(&Problem::new(Code::MalformedRequest).detail("This port speaks HTTPS only."), "")
}

fn answer(problem: &Problem, fields: &str) -> Vec<u8> {
    let id = Uuid::new_v4().to_string();
    let status = problem.code().status();
    tracing::info!(request_id = id, status = status.as_u16(), "rejected malformed request");
    let body = problem.document(Some(&id), ErrorFormat::Problem);
    let headers =
        problem.headers(ErrorFormat::Problem).map(|(name, value)| format!("{name}: {value}\r\n"));
    let same = SECURITY_HEADERS.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let headers: String = headers.chain(same).collect();
    let (media_type, length) = (MEDIA_TYPE, body.len());
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\
         connection: close\r\ncache-control: no-store\r\nx-request-id: {id}\r\n\
         {fields}{headers}\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn only_a_bare_rejection_is_rewritten() {
        let clock = Clock::manual(Timestamp::from_micros(0));
        let raw = RawErrors { hsts: None, clock };
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let full = String::from_utf8(raw.full_response(bare).unwrap()).unwrap();
        assert!(full.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        let (_, body) = full.split_once("\r\n\r\n").unwrap();
        assert!(full.contains(&format!("content-length: {}\r\n", body.len())));
        assert!(body.contains(r#""code":"headers_too_large""#));
        let two = [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", &bare[..]].concat();
        assert!(raw.full_response(&two).unwrap().starts_with(b"HTTP/1.1 200 OK"));
        let many = [&vec![b'x'; 1 << 20][..], &bare[..]].concat();
        assert!(raw.full_response(&many).unwrap().len() > many.len());
        for other in [
            &b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 4",
            b"",
        ] {
            assert_eq!(raw.full_response(other), None);
        }
    }
}
