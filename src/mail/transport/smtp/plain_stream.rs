//! A connection to a mail server that limits the server before TLS begins.
//!
//! Until then, anybody between the two can answer. lettre reads each line into memory, and reads
//! ahead: it would take replies that were sent before TLS for replies after it (RFC 3207 5). This
//! stream delivers one line at a time, of a limited length, and fails when the client writes
//! although the server has sent more than its reply.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The longest line of a reply, in bytes. RFC 5321 4.5.3.1.5 allows 512.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// The bytes that are received at once.
const BLOCK_BYTES: usize = 4096;

/// The first byte of a TLS handshake (RFC 8446 5.1). No command of SMTP begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// A stream of lines, and after STARTTLS one of bytes.
#[derive(Debug)]
pub(super) struct PlainStream {
    stream: TcpStream,
    phase: Phase,
    /// Received bytes that are not delivered yet, in reverse order.
    received: Vec<u8>,
    /// The bytes of the present line that are delivered.
    line_bytes: usize,
}

/// Which bytes the connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Lines, until the end.
    Plain,
    /// Lines, until the client begins a TLS handshake.
    BeforeTls,
    /// TLS records.
    Tls,
}

impl PlainStream {
    pub(super) const fn new(stream: TcpStream, phase: Phase) -> Self {
        Self { stream, phase, received: Vec::new(), line_bytes: 0 }
    }

    /// Delivers received bytes up to the end of the line.
    fn deliver(&mut self, to: &mut ReadBuf<'_>) -> Result<()> {
        while to.remaining() > 0 {
            let Some(byte) = self.received.pop() else { break };
            to.put_slice(&[byte]);
            self.line_bytes += 1;
            if byte == b'\n' {
                self.line_bytes = 0;
                break;
            }
        }
        if self.line_bytes > MAX_LINE_BYTES {
            return Err(invalid("the mail server sent a line of more than 64 KiB"));
        }
        Ok(())
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if self.phase == Phase::Tls {
            return Pin::new(&mut self.stream).poll_read(context, to);
        }
        if self.received.is_empty() {
            let mut block = [0; BLOCK_BYTES];
            let mut block = ReadBuf::new(&mut block);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut block))?;
            self.received.extend(block.filled().iter().rev());
        }
        Poll::Ready(self.deliver(to))
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        if self.phase != Phase::Tls && !self.received.is_empty() {
            let error = invalid("the mail server sent more than its reply before TLS");
            return Poll::Ready(Err(error));
        }
        if self.phase == Phase::BeforeTls && bytes.first() == Some(&TLS_HANDSHAKE) {
            self.phase = Phase::Tls;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncTokioStream for PlainStream {
    fn peer_addr(&self) -> Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

fn invalid(problem: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, problem)
}
