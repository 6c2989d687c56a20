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

mod closing_port;
mod connection;
mod first_head;
pub mod raw_errors;
pub mod redirect;
mod shutdown;
mod shutdown_connections;
pub mod tls;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Server, Service};
use actix_web::rt::net::TcpStream;

use super::requests_in_progress::RequestsInProgress;
use connection::{Connection, OpenConnection};
use raw_errors::RawErrors;
use shutdown_connections::ShutdownConnections;
use tls::{Stream, Tls};

/// The write buffer of a connection, in bytes: endless responses (the feed) would otherwise make
/// the buffers of a thousand connections large, and they never shrink.
const WRITE_BUFFER: usize = 8192;

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
    pub in_progress: RequestsInProgress,
    /// Writes the responses to unparsable requests.
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
