//! Repairs the head of a connection's first request, for HTTP/1.0.
//!
//! A request without `Content-Length` and `Transfer-Encoding` has a body of length zero (RFC 9112
//! 6.3). actix rejects an HTTP/1.0 POST with neither, as RFC 1945 did, and nginx by default sends
//! just that for a POST without a body. So such a head gets `Content-Length: 0`. Responses to
//! HTTP/1.0 close their connection, so there is no second request to check.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// The longest head that is checked; actix rejects a longer one itself.
const MAX_HEAD: usize = 64 * 1024;

/// The size of the read buffer, in bytes.
const READ_BYTES: usize = 4096;

/// The state of a connection's first head.
#[derive(Debug)]
pub(in crate::http) enum FirstHead {
    /// These bytes were received and are not conclusive yet.
    Unknown(Vec<u8>),
    /// These bytes are passed on before any others; the rest follows them or is dropped.
    PassOn(Vec<u8>, Rest),
    /// Nothing is left to do.
    Done(Rest),
}

/// The treatment of the bytes that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Rest {
    /// They are passed on.
    Follows,
    /// The request is complete. Bytes after it must not be parsed as another request.
    Dropped,
}

impl FirstHead {
    pub(in crate::http) const fn new() -> Self {
        Self::Unknown(Vec::new())
    }

    /// Reads from `io` as `AsyncRead` does.
    pub(in crate::http) fn poll_read(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self {
                Self::Done(Rest::Follows) => return Pin::new(io).poll_read(cx, buffer),
                Self::Done(Rest::Dropped) => {
                    // Only the end matters.
                    let mut piece = [0; READ_BYTES];
                    if ready!(read(io, cx, &mut piece))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Self::PassOn(bytes, rest) => {
                    let now = bytes.len().min(buffer.remaining());
                    buffer.put_slice(&bytes[..now]);
                    bytes.drain(..now);
                    if bytes.is_empty() {
                        *self = Self::Done(*rest);
                    }
                    return Poll::Ready(Ok(()));
                }
                Self::Unknown(bytes) => {
                    let mut piece = [0; READ_BYTES];
                    let count = ready!(read(io, cx, &mut piece))?;
                    bytes.extend_from_slice(&piece[..count]);
                    let bytes = std::mem::take(bytes);
                    *self = if count == 0 && bytes.is_empty() {
                        Self::Done(Rest::Follows)
                    } else if count == 0 {
                        Self::PassOn(bytes, Rest::Follows)
                    } else {
                        Self::classify(bytes)
                    };
                }
            }
        }
    }

    fn classify(bytes: Vec<u8>) -> Self {
        const METHOD: &[u8] = b"POST ";
        const VERSION: &[u8] = b" HTTP/1.0";
        let begin = &bytes[..bytes.len().min(METHOD.len())];
        if !METHOD.starts_with(begin) || bytes.len() > MAX_HEAD {
            return Self::PassOn(bytes, Rest::Follows);
        }
        let Some(line) = find(&bytes, b"\r\n") else {
            return Self::Unknown(bytes);
        };
        if !bytes[..line].ends_with(VERSION) {
            return Self::PassOn(bytes, Rest::Follows);
        }
        let Some(end) = find(&bytes, b"\r\n\r\n") else {
            return Self::Unknown(bytes);
        };
        // With bytes after it the request is ambiguous, and actix rejects it.
        if end + 4 < bytes.len() || has_a_length(&bytes[line..end]) {
            return Self::PassOn(bytes, Rest::Follows);
        }
        let (request_line, fields) = bytes.split_at(line);
        let whole = [request_line, b"\r\nContent-Length: 0", fields].concat();
        Self::PassOn(whole, Rest::Dropped)
    }
}

fn read(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    piece: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(piece);
    Pin::new(io).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
}

fn has_a_length(fields: &[u8]) -> bool {
    fields.split(|byte| *byte == b'\n').any(|line| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(b"content-length")
            || name.eq_ignore_ascii_case(b"transfer-encoding")
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// The bytes passed on of these pieces, each of which is read by itself.
    async fn handed_on(pieces: &[&[u8]]) -> Vec<u8> {
        let mut io = tokio_test_io(pieces);
        let mut head = FirstHead::new();
        let mut all = Vec::new();
        loop {
            let mut small = [0; 7];
            let mut buffer = ReadBuf::new(&mut small);
            std::future::poll_fn(|cx| head.poll_read(&mut io, cx, &mut buffer)).await.unwrap();
            if buffer.filled().is_empty() {
                return all;
            }
            all.extend_from_slice(buffer.filled());
        }
    }

    fn tokio_test_io<'a>(pieces: &[&'a [u8]]) -> Box<dyn AsyncRead + Unpin + 'a> {
        let none: Box<dyn AsyncRead + Unpin + 'a> = Box::new(tokio::io::empty());
        pieces.iter().rev().fold(none, |rest, piece| Box::new(piece.chain(rest)))
    }

    #[tokio::test]
    async fn an_http_1_0_post_without_a_length_gets_content_length_0_and_later_bytes_are_dropped() {
        let whole = b"POST /a HTTP/1.0\r\nContent-Length: 0\r\nHost: b\r\n\r\n";
        let pieces: [&[u8]; 4] = [b"PO", b"ST /a HTTP/1.0\r", b"\nHost: b\r\n\r\n", b"GET /"];
        assert_eq!(handed_on(&pieces).await, whole);
        let bare = b"POST /a HTTP/1.0\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(handed_on(&[b"POST /a HTTP/1.0\r\n\r\n"]).await, bare);
    }

    #[tokio::test]
    async fn everything_else_is_passed_on_unchanged() {
        let long = [b"POST /".to_vec(), vec![b'a'; MAX_HEAD]].concat();
        for bytes in [
            &b""[..],
            b"P",
            b"GET /a HTTP/1.0\r\n\r\n",
            b"POST /a HTTP/1.1\r\nHost: b\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"POST /a HTTP/1.0\r\ncontent-LENGTH : 3\r\n\r\nabc",
            b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /a HTTP/1.0\r\n\r\nabc",
            b"POST /a HTTP/1.0\r\nHost",
            b"\x16\x03\x01",
            &long,
        ] {
            assert_eq!(handed_on(&[bytes]).await, bytes);
            let (a, b) = bytes.split_at(bytes.len() / 2);
            // A body that arrives later belongs to no request.
            if !bytes.ends_with(b"\r\n\r\nabc") {
                assert_eq!(handed_on(&[a, b]).await, bytes);
            }
        }
    }
}
