//! Auxiliary listeners: the redirect to https, the metrics, the admin API.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;
use actix_web::{Error, web};
use tokio::sync::watch;

use super::StartError;
use super::socket::bind;
use crate::clock::Clock;
use crate::http::requests_in_progress::RequestsInProgress;
use crate::http::server::raw_errors::RawErrors;
use crate::http::server::tls::Tls;
use crate::http::server::{self, HttpServer, ServerSettings};

/// The most connections of such a listener.
const MAX_CONNECTIONS: usize = 1000;

/// How long a request may take to arrive, and how long a connection may be idle.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Longer than `limits.request_timeout` by default, so that a slow body gets its 408.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A listener that stops with the API's.
pub(super) struct AuxiliaryListener {
    setting: &'static str,
    running: HttpServer,
}

impl AuxiliaryListener {
    /// Listens on the address that the setting names, shared with another process if that is
    /// allowed.
    pub(super) async fn listen(
        setting: &'static str,
        address: SocketAddr,
        is_shared: bool,
        clock: &Clock,
        routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    ) -> Result<Self, StartError> {
        let app = move || actix_web::App::new().configure(routes.clone());
        Self::serve(setting, address, is_shared, clock, None, app).await
    }

    /// The same for an app with a middleware of its own, over https with a certificate.
    pub(super) async fn serve<F, I, S, B>(
        setting: &'static str,
        address: SocketAddr,
        is_shared: bool,
        clock: &Clock,
        tls: Option<Tls>,
        app: F,
    ) -> Result<Self, StartError>
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
        let failed = |error| StartError::AuxiliaryListener(setting, address, error);
        let listener = bind(address, is_shared).await.map_err(failed)?;
        tracing::info!(setting, address = %listener.local_addr()?, "auxiliary listener started");
        let server_settings = ServerSettings {
            workers: 1,
            blocking_threads: None,
            connections_per_worker: MAX_CONNECTIONS,
            head_timeout: REQUEST_TIMEOUT,
            keep_alive: REQUEST_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            socket_is_inherited: false,
            shutdown_delay: Duration::ZERO,
            drain_timeout: Duration::ZERO,
            shutdown_timeout: Duration::ZERO,
            is_shutting_down: Arc::new(AtomicBool::new(false)),
            is_draining: Arc::new(AtomicBool::new(false)),
            in_progress: RequestsInProgress::default(),
            raw: Arc::new(RawErrors { hsts: None, clock: clock.clone() }),
            tls,
        };
        Ok(Self { setting, running: server::serve(listener, server_settings, app)? })
    }

    /// Serves until the sender of `gone` is dropped.
    pub(super) async fn run_until(self, mut gone: watch::Receiver<()>) {
        let gone = async { while gone.changed().await.is_ok() {} };
        if let Err(error) = self.running.run_until(gone).await {
            tracing::error!(%error, setting = self.setting, "an auxiliary listener has stopped");
        }
    }
}
