//! A connection with a timeout, which the shutdown counts.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::first_head::FirstHead;
use super::raw_errors::RawErrors;
use super::tls::Stream;

/// A connection that the shutdown waits for, from its first byte on.
pub(super) struct OpenConnection(Arc<AtomicUsize>);

impl OpenConnection {
    pub(super) fn count(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is closed when nothing could be written to it for too long. Only bytes written
/// within TLS count: a client can make TLS itself write for ever.
pub(super) struct Connection {
    io: Stream,
    head: FirstHead,
    response_timeout: Duration,
    deadline: Pin<Box<Sleep>>,
    _open: OpenConnection,
    /// The rest of the response that replaces a bare rejection.
    instead: Option<Vec<u8>>,
    raw: Arc<RawErrors>,
}

impl Connection {
    pub(super) fn new(
        io: Stream,
        response_timeout: Duration,
        open: OpenConnection,
        raw: Arc<RawErrors>,
    ) -> Self {
        let (head, deadline) = (FirstHead::new(), Box::pin(sleep(response_timeout)));
        Self { io, head, response_timeout, deadline, _open: open, instead: None, raw }
    }

    fn poll_some(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, data);
        if let Poll::Ready(Ok(1..)) = written {
            let next = Instant::now() + self.response_timeout;
            self.deadline.as_mut().reset(next);
        }
        written
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let Self { io, head, .. } = &mut *self;
        head.poll_read(io, cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        if self.instead.is_none() {
            self.instead = self.raw.full_response(data);
        }
        while let Some(mut rest) = self.instead.take() {
            match self.poll_some(cx, &rest) {
                Poll::Ready(Ok(written)) if written < rest.len() => {
                    self.instead = Some(rest.split_off(written));
                }
                Poll::Ready(result) => return Poll::Ready(result.map(|_| data.len())),
                Poll::Pending => {
                    // The caller will retry with the same data.
                    self.instead = Some(rest);
                    return Poll::Pending;
                }
            }
        }
        self.poll_some(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
