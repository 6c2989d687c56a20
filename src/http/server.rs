//! The listening socket, its connections, and a shutdown that answers every accepted request.
//!
//! Actix's own `HttpServer` lacks two things, which are implemented here:
//!
//! - **Every wait has a timeout.** Actix has one for the head of a connection's first request and
//!   for an idle connection, but none for the head of a second request, nor for a chunked body that
//!   is not read. Here one rule covers a connection: it stays open as long as it is answered. When
//!   nothing could be written to it for [`ServerSettings::response_timeout`], it is closed.
//! - **A shutdown loses no request.** Actix closes connections whose first request has not been
//!   read yet, and drops those that wait to be accepted. [`HttpServer::run_until`] first prevents
//!   new connections, where the kernel permits that, accepts the waiting ones, closes the port,
//!   answers all of them, and only then stops actix. On an inherited socket it only stops
//!   accepting: the process that shares the socket continues.

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

/// How long a handshake that began before the shutdown may still take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(300);

/// The write buffer of a connection, in bytes: endless responses (the feed) would otherwise make
/// the buffers of a thousand connections large, and they never shrink.
const WRITE_BUFFER: usize = 8192;

/// How long accepting may continue after it was asked to pause, until accepted connections have
/// reached a worker, where they are counted.
const ACCEPT_SETTLE_TIME: Duration = Duration::from_millis(100);

/// How often the shutdown checks whether the last connection is closed.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Timeouts and limits of connections.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Threads that serve connections.
    pub workers: usize,
    /// Threads that each of them has for blocking work; `None`: actix's default.
    pub blocking_threads: Option<usize>,
    /// The maximum number of connections of each worker; more of them wait in the kernel.
    pub connections_per_worker: usize,
    /// How long the head of a connection's first request may take.
    pub head_timeout: Duration,
    /// How long a connection may be idle between requests.
    pub keep_alive: Duration,
    /// How long a connection may go without a response, whether or not it sends.
    pub response_timeout: Duration,
    /// Whether another process shares the socket, which then stays open when this server stops.
    pub socket_is_inherited: bool,
    /// How long the server continues normally after it was told to stop, only reporting that it is
    /// not ready.
    pub shutdown_delay: Duration,
    /// How long, once the shutdown has begun, idle connections may still send one more request.
    pub drain_timeout: Duration,
    /// How long after that the requests in progress may take. Zero: no waiting.
    pub shutdown_timeout: Duration,
    /// Set when the server is told to stop.
    pub is_shutting_down: Arc<AtomicBool>,
    /// Shared with the middleware: set when the shutdown begins.
    pub is_draining: Arc<AtomicBool>,
    /// Shared with the middleware: the requests that are being answered.
    pub under_way: RequestsUnderWay,
    /// Writes the answers to unparsable requests.
    pub raw: Arc<RawErrors>,
    /// Serves TLS only.
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
    /// Serves until `stop` completes, and then until every accepted request is answered.
    ///
    /// # Errors
    /// When the server ends unexpectedly.
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

/// Closes the listening socket without losing waiting connections, and returns those that actix had
/// not accepted.
///
/// No error here may abort the shutdown: the requests in progress are still to be answered.
async fn close(listener: TcpListener, handle: &ServerHandle) -> Vec<net::TcpStream> {
    let socket = SockRef::from(&listener);
    #[cfg(target_os = "linux")]
    match refuse_new_connections(&socket) {
        Ok(()) => sleep(HANDSHAKE_TIMEOUT.saturating_sub(ACCEPT_SETTLE_TIME)).await,
        Err(error) => tracing::debug!(%error, "new connections may begin until the port closes"),
    }
    // Pauses first, or actix would try to accept from the closed socket over and over. It returns
    // when the request to pause is sent, not when it has taken effect.
    handle.pause().await;
    sleep(ACCEPT_SETTLE_TIME).await;
    // No step may separate the last accept and the shutdown, which resets connections that still
    // wait.
    let waiting = accept_all(&listener);
    if let Err(error) = socket.shutdown(Shutdown::Both)
        && error.kind() != io::ErrorKind::NotConnected
    {
        tracing::warn!(%error, "the port stays open until the process ends");
    }
    waiting
}

/// Accepts every waiting connection of a non-blocking socket.
fn accept_all(listener: &TcpListener) -> Vec<net::TcpStream> {
    let mut waiting = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => waiting.push(stream),
            Ok(_) => {}
            // Only this connection failed, or a signal interrupted the call.
            Err(error) if is_transient(&error) => {}
            Err(_) => return waiting,
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Lets handshakes in progress complete, and prevents new ones.
///
/// A client whose SYN is dropped sends it again a second later, and then reaches the successor.
/// Linux may require `CAP_NET_ADMIN` for the filter that drops it. Binding to a nonexistent
/// interface needs no privilege (since Linux 5.7). It rejects connections at once, which leaves the
/// successor no time; but with `reuse_port` it drops the SYN, too.
#[cfg(target_os = "linux")]
fn refuse_new_connections(socket: &SockRef<'_>) -> io::Result<()> {
    const NO_INTERFACE: Option<NonZeroU32> = NonZeroU32::new(i32::MAX.cast_unsigned());
    let filtered = socket.attach_filter(&without_syn());
    filtered.or_else(|_| socket.bind_device_by_index_v4(NO_INTERFACE))
}

/// A filter over the TCP header that drops the start of a connection: byte 13 holds the flags, 2 is
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

/// Serves an app on a listening socket. Must be called within a tokio runtime; the caller handles
/// signals.
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
            // Responses are small and complete; waiting for more of them would only add latency.
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

/// A connection that the shutdown waits for, from its first byte on.
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

/// A connection that is closed when nothing could be written to it for too long. Only bytes written
/// within TLS count: a client can make TLS itself write for ever.
struct Connection {
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
