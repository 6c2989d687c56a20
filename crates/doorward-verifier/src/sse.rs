//! Server-sent events (WHATWG HTML 9.2), parsed in bounded memory.

use std::mem;
use std::time::Duration;

/// The maximum length of one event, or of one line, in bytes. An entry of the feed has some 70, and
/// the feed splits long lists into several events.
pub(super) const MAX_EVENT: usize = 4 * 1024 * 1024;

/// The maximum length of an event's id in bytes; a longer one is ignored.
const MAX_ID: usize = 256;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its type; `message` when it has none.
    pub(super) name: String,
    /// Its lines of data, joined.
    pub(super) data: String,
    /// The id of the position after it.
    pub(super) id: Option<String>,
}

/// Why a stream is unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("an event of the feed is too long")]
    TooLong,
    #[error("the feed is not UTF-8")]
    NotUtf8,
}

/// Parses bytes into events, in chunks of any size.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The last byte was a CR, which a LF may complete.
    after_cr: bool,
    has_started: bool,
    name: String,
    data: String,
    id: Option<String>,
    retry: Option<Duration>,
}

impl Parser {
    /// Takes the next bytes, and passes on each event that they complete.
    pub(super) fn push<E: From<Unreadable>>(
        &mut self,
        bytes: &[u8],
        mut event: impl FnMut(Event) -> Result<(), E>,
    ) -> Result<(), E> {
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\r' | b'\n')) {
            let Some((&end, text)) = piece.split_last() else { continue };
            let is_second_half = mem::take(&mut self.after_cr) && piece == b"\n";
            if is_second_half {
                continue;
            }
            let is_whole = matches!(end, b'\r' | b'\n');
            self.line.extend_from_slice(if is_whole { text } else { piece });
            if self.line.len() + self.data.len() > MAX_EVENT {
                return Err(Unreadable::TooLong.into());
            }
            if is_whole {
                self.after_cr = end == b'\r';
                let line = mem::take(&mut self.line);
                if let Some(whole) = self.line(&line)? {
                    event(whole)?;
                }
                // The allocation is kept for the next line, unless it was a rare long one.
                if line.capacity() <= 64 * 1024 {
                    self.line = line;
                    self.line.clear();
                }
            }
        }
        Ok(())
    }

    /// The reconnection delay that the sender requests.
    pub(super) const fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Event>, Unreadable> {
        let line = str::from_utf8(line).map_err(|_| Unreadable::NotUtf8)?;
        let line = if mem::replace(&mut self.has_started, true) {
            line
        } else {
            line.strip_prefix('\u{feff}').unwrap_or(line)
        };
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if value.len() <= MAX_ID && !value.contains('\0') => {
                self.id = Some(value.to_owned());
            }
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis);
            }
            // A comment has an empty name; unknown fields are ignored.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<Event> {
        let (mut name, mut data) = (mem::take(&mut self.name), mem::take(&mut self.data));
        let id = self.id.take();
        // An event without data does not count, nor does its id: nothing of it was processed.
        data.pop()?;
        if name.is_empty() {
            "message".clone_into(&mut name);
        }
        Some(Event { name, data, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parser: &mut Parser, bytes: &[u8]) -> Result<Vec<Event>, Unreadable> {
        let mut events = Vec::new();
        parser.push(bytes, |event| {
            events.push(event);
            Ok::<(), Unreadable>(())
        })?;
        Ok(events)
    }

    fn event(name: &str, data: &str, id: Option<&str>) -> Event {
        Event { name: name.into(), data: data.into(), id: id.map(Into::into) }
    }

    const STREAM: &str = "\u{feff}: hello\n\nevent: revoked\nid: a-1\ndata: [1,\ndata:2]\n\n\
        data\n\nid: lost\n\nevent:current\r\ndata:  {}\r\rretry: 250\ndata: x\n\nevent: cut\ndata: off";

    #[test]
    fn a_stream_parses_the_same_in_chunks_of_any_size() {
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                events.extend(read(&mut parser, piece).unwrap());
            }
            let expected = [
                event("revoked", "[1,\n2]", Some("a-1")),
                event("message", "", None),
                event("current", " {}", None),
                event("message", "x", None),
            ];
            assert_eq!(events, expected, "in chunks of {size}");
            assert_eq!(parser.retry(), Some(Duration::from_millis(250)));
        }
    }

    #[test]
    fn a_crlf_is_one_end_of_line_even_across_two_pieces() {
        let mut parser = Parser::default();
        assert_eq!(read(&mut parser, b"data: a\r").unwrap(), []);
        assert_eq!(read(&mut parser, b"\n").unwrap(), []);
        assert_eq!(read(&mut parser, b"\r\n").unwrap(), [event("message", "a", None)]);
    }

    #[test]
    fn endless_input_is_aborted() {
        for start in ["data: x", ":", "", "data: x\ndata: "] {
            let mut parser = Parser::default();
            assert_eq!(read(&mut parser, start.as_bytes()).unwrap(), []);
            let piece = vec![b'x'; 64 * 1024];
            let taken = (0..1_000).take_while(|_| read(&mut parser, &piece).is_ok()).count();
            assert!(taken <= MAX_EVENT / piece.len(), "{taken}");
        }
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &[b'x'; 1024], b"\n"].concat();
        let taken = (0..10_000).take_while(|_| read(&mut parser, &line).is_ok()).count();
        assert!(taken <= MAX_EVENT / 1024, "{taken}");
    }

    #[test]
    fn invalid_ids_and_delays_are_ignored() {
        let mut parser = Parser::default();
        let long = format!("id: {}\nid: a\0b\nretry: -1\nretry: 1x\ndata: y\n\n", "i".repeat(300));
        assert_eq!(read(&mut parser, long.as_bytes()).unwrap(), [event("message", "y", None)]);
        assert_eq!(parser.retry(), None);
        assert_eq!(read(&mut parser, b"data: \xff\n"), Err(Unreadable::NotUtf8));
    }
}
