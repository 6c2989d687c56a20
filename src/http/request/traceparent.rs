//! `traceparent` (W3C Trace Context 2): the trace of a request, for its log lines. It is only read:
//! the service makes no requests to pass it on to.

use std::ops::Range;

use actix_web::http::header::{HeaderMap, HeaderName};

/// The name of the header.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A companion header with vendor-specific data. A traced page may send it; it is not read here.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The fields of version 00 (3.2.2), with which later versions begin.
const VERSION: Range<usize> = 0..2;
const TRACE_ID: Range<usize> = 3..35;
const PARENT_ID: Range<usize> = 36..52;
const FLAGS: Range<usize> = 53..55;

/// The ids in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct TraceParent<'a> {
    /// The id of the trace.
    pub(in crate::http) trace_id: &'a str,
    /// The id of the caller's span.
    pub(in crate::http) parent_id: &'a str,
}

impl<'a> TraceParent<'a> {
    /// The ids in these headers; `None` when they are malformed or there are two headers, which
    /// counts as malformed (3.2.1).
    pub(in crate::http) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT);
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() { None } else { Self::parse(value) }
    }

    fn parse(text: &'a str) -> Option<Self> {
        let field = |range: Range<usize>| text.get(range).filter(|it| it.bytes().all(is_hex));
        let (version, trace_id) = (field(VERSION)?, field(TRACE_ID)?);
        let (parent_id, _) = (field(PARENT_ID)?, field(FLAGS)?);
        let parted = |at: usize| text.as_bytes().get(at) == Some(&b'-');
        let ends = match version {
            "00" => text.len() == FLAGS.end,
            // Invalid (3.2.2.1).
            "ff" => false,
            // A later version may have more fields (4.3).
            _ => text.len() == FLAGS.end || parted(FLAGS.end),
        };
        let parts = [VERSION.end, TRACE_ID.end, PARENT_ID.end].into_iter().all(parted);
        let named = [trace_id, parent_id].iter().all(|id| id.bytes().any(|byte| byte != b'0'));
        (ends && parts && named).then_some(Self { trace_id, parent_id })
    }
}

/// In lower case only (3.2.2).
fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn the_ids_are_those_of_the_header() {
        for text in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
            // Later versions, as far as they are specified.
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "fe-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-what comes then",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-",
        ] {
            let expected = TraceParent { trace_id: TRACE, parent_id: PARENT };
            assert_eq!(TraceParent::parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn malformed_traceparent_is_ignored() {
        for text in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0X",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ä0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }

    #[test]
    fn two_headers_are_ignored() {
        let value =
            HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, value.clone());
        assert!(TraceParent::of(&headers).is_some());
        headers.append(TRACEPARENT, value);
        assert_eq!(TraceParent::of(&headers), None);
    }

    proptest! {
        #[test]
        fn ids_are_always_hex_of_the_right_length(
            text in "[0-9a-f]{2}-[0-9a-g]{32}-[0-9a-fA]{16}-[0-9a-f]{2}(-.*)?|.*"
        ) {
            if let Some(TraceParent { trace_id, parent_id }) = TraceParent::parse(&text) {
                prop_assert_eq!((trace_id.len(), parent_id.len()), (32, 16));
                prop_assert!(trace_id.bytes().chain(parent_id.bytes()).all(is_hex));
            }
        }
    }
}
