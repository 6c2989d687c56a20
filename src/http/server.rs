//! The listening socket, its connections, and a stop that answers whatever was accepted.
//!
//! Two things are missing in actix's own `HttpServer`, and both are here:
//!
//! - **Nothing waits for ever.** Actix has a time limit for the head of a connection's first
//!   request and for an idle connection, but none for the head of a second request, nor for a
//!   chunked body that nobody reads. Here a connection has one rule instead: it lives on by being
//!   answered. When nothing could be written to it for [`ServerSettings::response_timeout`], it is
//!   cut.
//! - **A stop loses nothing.** Actix closes connections whose first request has not been read yet,
//!   and forgets those that wait to be accepted. [`HttpServer::run_until`] first lets no new
//!   connection begin, where the kernel permits that, accepts those that wait, closes the port,
//!   answers all of them, and only then stops actix. On a socket that was handed over it just
//!   accepts no more: whoever has the socket, too, does.

mod first_head;
pub mod raw_errors;
pub mod redirect;
mod shutdown_connections;
pub mod tls;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{self, Shutdown, SocketAddr, TcpListener};
#[cfg(target_os = "linux")]
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::requests_under_way::RequestsUnderWay;
use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Server, ServerHandle, Service};
use actix_web::rt::net::TcpStream;
use first_head::FirstHead;
use raw_errors::RawErrors;
use shutdown_connections::ShutdownConnections;
use socket2::SockRef;
use tls::{Stream, Tls};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout, timeout_at};

/// How long a handshake that had begun before the stop may still take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(300);

/// Bytes of a body that a connection collects before it writes them: what is sent without end (the
/// feed) would otherwise make the buffers of a thousand connections large, and they stay so.
const WRITE_BUFFER: usize = 8192;

/// How long accepting may go on after it was asked to pause, and what it accepted may be on its way
/// to a worker, where it is counted.
const ACCEPT_SETTLE_TIME: Duration = Duration::from_millis(100);

/// How often the stop looks whether the last connection has gone.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How connections are treated.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Threads that serve connections.
    pub workers: usize,
    /// Threads that each of them has for what may block; nothing: as many as actix thinks fit.
    pub blocking_threads: Option<usize>,
    /// Connections that each of them holds at most; further ones wait in the kernel.
    pub connections_per_worker: usize,
    /// How long the head of a connection's first request may take.
    pub head_timeout: Duration,
    /// How long a connection may idle between requests.
    pub keep_alive: Duration,
    /// How long a connection may be without an answer, whatever it does.
    pub response_timeout: Duration,
    /// The socket is another's, too, and stays open when this server stops.
    pub socket_is_inherited: bool,
    /// How long it goes on as before after it was told to stop, and only says so.
    pub shutdown_delay: Duration,
    /// How long, once the stop has begun, idle connections may still bring one more request.
    pub drain_timeout: Duration,
    /// How long after that the requests under way may take. Zero: nothing is waited for at all.
    pub shutdown_timeout: Duration,
    /// Raised when it is told to stop.
    pub is_shutting_down: Arc<AtomicBool>,
    /// Shared with the door: raised when the stop begins.
    pub is_draining: Arc<AtomicBool>,
    /// Shared with the middleware: the requests that are being answered.
    pub under_way: RequestsUnderWay,
    /// Writes the answers to unparsable requests.
    pub raw: Arc<RawErrors>,
    /// Speaks TLS, and nothing else.
    pub tls: Option<Tls>,
}

/// A server that is listening.
pub struct HttpServer {
    server: Server,
    listener: TcpListener,
    late: ShutdownConnections,
    open: Arc<AtomicUsize>,
    settings: ServerSettings,
}

impl HttpServer {
    /// Serves until `stop` is done, and then until what was accepted is answered.
    ///
    /// # Errors
    /// When the server ends by itself.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { server, listener, late, open, settings } = self;
        let handle = server.handle();
        let mut server = tokio::spawn(server);
        tokio::select! {
            ended = &mut server => return ended.map_err(io::Error::other)?,
            () = stop => {}
        }
        tracing::info!("stopping");
        settings.is_shutting_down.store(true, Ordering::Relaxed);
        sleep(settings.shutdown_delay).await;
        settings.is_draining.store(true, Ordering::Relaxed);
        let requests = settings.under_way.clone();
        if settings.shutdown_timeout.is_zero() {
            let before = requests.dropped();
            handle.stop(false).await;
            let ended = server.await;
            warn_of_cut_requests(&requests, before);
            return ended.map_err(io::Error::other)?;
        }
        let mut late = if settings.socket_is_inherited {
            handle.pause().await;
            sleep(ACCEPT_SETTLE_TIME).await;
            None
        } else {
            late.serve(close(listener, &handle).await)
        };
        let drained = async {
            while open.load(Ordering::Relaxed) > 0 {
                sleep(POLL_INTERVAL).await;
            }
        };
        let late_served = async {
            if let Some(served) = &mut late {
                let _ = served.await;
            }
        };
        let _ = timeout(settings.drain_timeout, async { tokio::join!(late_served, drained) }).await;
        let finished = Instant::now() + settings.shutdown_timeout;
        let stop = async {
            handle.stop(true).await;
            if let Some(served) = late.filter(|served| !served.is_terminated()) {
                let _ = timeout_at(finished, served).await;
            }
            server.await
        };
        // What a client has given up itself before then was not cut off.
        let given_up = async {
            sleep_until(finished.checked_sub(POLL_INTERVAL).unwrap_or(finished)).await;
            requests.dropped()
        };
        let mut stop = pin!(stop);
        let (ended, before) = tokio::select! {
            biased;
            before = given_up => (stop.await, Some(before)),
            ended = &mut stop => (ended, None),
        };
        if let Some(before) = before {
            warn_of_cut_requests(&requests, before);
        }
        ended.map_err(io::Error::other)?
    }
}

/// Says how many requests have not been answered: those that were dropped since there were `before`
/// of them, and those that the end of the process cuts off.
fn warn_of_cut_requests(requests: &RequestsUnderWay, before: usize) {
    let count = requests.dropped().saturating_sub(before) + requests.under_way();
    if count > 0 {
        tracing::warn!(
            requests = count,
            "requests were cut off unanswered; a longer shutdown_timeout lets them end"
        );
    }
}

/// Closes the listening socket without losing who waits in it, and returns the connections that
/// actix had not accepted.
///
/// No step of it may fail the stop: the requests under way are still to be answered.
async fn close(listener: TcpListener, handle: &ServerHandle) -> Vec<net::TcpStream> {
    let socket = SockRef::from(&listener);
    #[cfg(target_os = "linux")]
    match refuse_new_connections(&socket) {
        Ok(()) => sleep(HANDSHAKE_TIMEOUT.saturating_sub(ACCEPT_SETTLE_TIME)).await,
        Err(error) => tracing::debug!(%error, "new connections may begin until the port closes"),
    }
    // Pausing first, or actix would try to accept from the closed socket over and over. It says
    // that it was asked to, not that it has.
    handle.pause().await;
    sleep(ACCEPT_SETTLE_TIME).await;
    // Nothing may come between the last accept and the shutdown, which resets what still waits.
    let waiting = accept_all(&listener);
    if let Err(error) = socket.shutdown(Shutdown::Both)
        && error.kind() != io::ErrorKind::NotConnected
    {
        tracing::warn!(%error, "the port stays open until the process ends");
    }
    waiting
}

/// Accepts whatever waits in a listening socket, which is not a blocking one.
fn accept_all(listener: &TcpListener) -> Vec<net::TcpStream> {
    let mut waiting = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => waiting.push(stream),
            Ok(_) => {}
            // This connection alone has failed, or a signal came between.
            Err(error) if is_transient(&error) => {}
            Err(_) => return waiting,
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Lets handshakes end that are under way, and none begin.
///
/// A client whose SYN is dropped sends it again a second later, and then meets the successor. Linux
/// may demand `CAP_NET_ADMIN` for the filter that does so. Listening on an interface that does not
/// exist needs nothing (since Linux 5.7). It refuses at once, which leaves no successor the time; but
/// with `reuse_port` it drops the SYN, too.
#[cfg(target_os = "linux")]
fn refuse_new_connections(socket: &SockRef<'_>) -> io::Result<()> {
    const NO_INTERFACE: Option<NonZeroU32> = NonZeroU32::new(i32::MAX.cast_unsigned());
    let filtered = socket.attach_filter(&without_syn());
    filtered.or_else(|_| socket.bind_device_by_index_v4(NO_INTERFACE))
}

/// A filter over the TCP header that drops what begins a connection: byte 13 holds the flags, 2 is
/// SYN.
#[cfg(target_os = "linux")]
fn without_syn() -> [socket2::SockFilter; 4] {
    use socket2::SockFilter;
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(JUMP_IF_SET, 0, 1, 2),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

/// Serves an app on a listening socket. Must be called within a tokio runtime; signals are the
/// caller's business.
///
/// # Errors
/// When the socket cannot be used.
pub fn serve<F, I, S, B>(
    listener: TcpListener,
    settings: ServerSettings,
    app: F,
) -> io::Result<HttpServer>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let open = Arc::new(AtomicUsize::new(0));
    let (limits, count) = (settings.clone(), Arc::clone(&open));
    let builder = Server::build();
    let builder = match settings.blocking_threads {
        Some(threads) => builder.worker_max_blocking_threads(threads),
        None => builder,
    };
    let stopping = builder.graceful_shutdown_signal();
    let connections = move || {
        let stopping = stopping.clone();
        let (response_timeout, count) = (limits.response_timeout, Arc::clone(&count));
        let app = app().into_factory().map_err(|error| error.into().error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .client_request_timeout(limits.head_timeout)
            .client_disconnect_timeout(Duration::from_secs(1))
            .keep_alive(limits.keep_alive)
            .h1_write_buffer_size(WRITE_BUFFER)
            .finish(map_config(app, |()| AppConfig::default()));
        let (tls, raw) = (limits.tls.clone(), Arc::clone(&limits.raw));
        fn_service(move |io: TcpStream| {
            let peer: Option<SocketAddr> = io.peer_addr().ok();
            // Answers are small and whole; waiting for more of them would only delay.
            let _ = io.set_nodelay(true);
            let (tls, open) = (tls.clone(), OpenConnection::count(&count));
            let raw = Arc::clone(&raw);
            async move {
                let io = match tls {
                    Some(tls) => Stream::Tls(Box::new(tls.accept(io).await?)),
                    None => Stream::Plain(io),
                };
                let connection = Connection::new(io, response_timeout, open, raw);
                Ok::<_, DispatchError>((connection, Protocol::Http1, peer))
            }
        })
        .and_then(http)
    };
    let late = ShutdownConnections::new(connections.clone());
    let server = builder
        .workers(settings.workers)
        .max_concurrent_connections(settings.connections_per_worker)
        .shutdown_timeout(settings.shutdown_timeout.as_secs())
        .disable_signals()
        .listen("doorward", listener.try_clone()?, connections)?
        .run();
    Ok(HttpServer { server, listener, late, open, settings })
}

/// One of the connections that a stop waits for, from its first byte on.
struct OpenConnection(Arc<AtomicUsize>);

impl OpenConnection {
    fn count(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is cut when nothing could be written to it for too long. What counts is what
/// is written within TLS: a client can have TLS itself write for ever.
struct Connection {
    io: Stream,
    head: FirstHead,
    response_timeout: Duration,
    deadline: Pin<Box<Sleep>>,
    _open: OpenConnection,
    /// What is written in the place of a bare refusal, as far as it has not been.
    instead: Option<Vec<u8>>,
    raw: Arc<RawErrors>,
}

impl Connection {
    fn new(
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
            self.instead = self.raw.in_full(data);
        }
        while let Some(mut rest) = self.instead.take() {
            match self.poll_some(cx, &rest) {
                Poll::Ready(Ok(written)) if written < rest.len() => {
                    self.instead = Some(rest.split_off(written));
                }
                Poll::Ready(result) => return Poll::Ready(result.map(|_| data.len())),
                Poll::Pending => {
                    // The caller comes again with the same data.
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
