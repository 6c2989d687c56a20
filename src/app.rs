//! Assembles and runs the service: start, background tasks, graceful shutdown.
//!
//! The same [`App::build`] serves production and the tests, which pass their own clock and listen
//! on port 0.

mod admin_listener;
mod banner;
mod clock_jumps;
mod errors;
mod listeners;
pub(crate) mod mail;
mod metrics;
mod services;
pub(crate) mod settings;
mod signals;
mod socket;
mod tasks;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::web;
use futures_util::future::join_all;
use url::Url;

use crate::accounts::throttle::LoginThrottle;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::http::middleware::cors::{self, ClientOrigins};
use crate::http::requests_in_progress::RequestsInProgress;
use crate::http::server::raw_errors::RawErrors;
use crate::http::server::redirect;
use crate::http::server::tls::Tls;
use crate::http::server::{self, HttpServer, ServerSettings};
use crate::http::{self, Api, HttpSettings, Limits, middleware};
use crate::metrics::Requests;
use crate::secret::Purpose;

pub use errors::{RunError, StartError};
pub use mail::MailError;

use listeners::AuxiliaryListener;
use metrics::MetricsSources;
use signals::Signals;
use socket::Socket;
use tasks::Tasks;

/// How long a connection may idle between requests.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a connection may stay without a response, even if it keeps sending.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(25);

/// Connections that a worker holds at a time; more of them wait in the kernel.
const CONNECTIONS_PER_WORKER: usize = 10_000;

/// A started service that listens.
pub struct App {
    address: SocketAddr,
    api: Api,
    running: HttpServer,
    auxiliary: Vec<AuxiliaryListener>,
    tasks: Tasks,
}

/// The number of log lines dropped so far.
pub type DroppedLogLines = Arc<dyn Fn() -> usize + Send + Sync>;

/// Flushes the log's queued lines, before the process ends.
pub type FlushLog = Arc<dyn Fn() + Send + Sync>;

/// The log of the process, which writes on a separate thread.
pub struct LogWriter {
    /// The number of lines that were dropped because the queue was full.
    pub dropped_lines: DroppedLogLines,
    /// Writes the queued lines.
    pub flush: FlushLog,
}

/// Runs the service until SIGTERM, SIGINT or SIGQUIT.
///
/// # Errors
/// [`RunError`] when it cannot start, or the error that ended it.
pub fn run(config: &Config, log: LogWriter) -> Result<(), RunError> {
    actix_web::rt::System::new().block_on(async {
        // Installed before the service is reachable, so that a signal during the start is handled.
        let signals = Signals::receive().map_err(StartError::System)?;
        let inherited = config::inherited_socket().map_err(StartError::InheritedSocket)?;
        let clock = Clock::system();
        // Not in `build`: in a process with several services another one may have the file open,
        // and this check would release its locks.
        let database = config.database().map_err(StartError::Config)?;
        database.refuse_other_log().map_err(StartError::Database)?;
        let app = App::build_on(inherited, config, &clock, Some(log.dropped_lines));
        let app = Box::pin(app).await?;
        tracing::info!(address = %app.address, issuer = app.api.issuer, "listening");
        if config.public_url.is_empty() && app.address.ip().to_canonical().is_unspecified() {
            tracing::warn!(
                issuer = app.api.issuer,
                "public_url is not set and the listen address is not reachable; set public_url"
            );
        }
        if is_exposed(config, app.address) {
            tracing::warn!(
                address = %app.address,
                "passwords and tokens travel unencrypted; set tls.cert and tls.key, or put a proxy \
                 with TLS in front and name it in trusted_proxies"
            );
        }
        if config.log.format == config::LogFormat::Text && banner::works_with(config) {
            banner::print(&app.api.issuer);
        }
        let stop = signals.stop(app.tasks.tls.clone(), clock, log.flush);
        Box::pin(app.run(stop)).await.map_err(RunError::Ended)
    })
}

/// Whether plain HTTP is reachable from other machines without a proxy in front.
pub(crate) fn is_exposed(config: &Config, address: SocketAddr) -> bool {
    !config.has_tls()
        && !address.ip().to_canonical().is_loopback()
        && config.trusted_proxies.is_empty()
}

impl App {
    /// Opens the database, loads keys and revocations, and binds the sockets; from here on
    /// connections are accepted.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn build(config: &Config, clock: &Clock) -> Result<Self, StartError> {
        Box::pin(Self::build_on(None, config, clock, None)).await
    }

    /// Builds the service as [`App::build`] does, on the inherited socket if there is one.
    async fn build_on(
        inherited: Option<TcpListener>,
        config: &Config,
        clock: &Clock,
        dropped_lines: Option<DroppedLogLines>,
    ) -> Result<Self, StartError> {
        let tls = settings::tls_files(config).map(|files| Tls::load(files, clock.now()));
        let tls = tls.transpose()?;
        let socket = Socket::open(inherited, config).await?;
        let address = socket.listener.local_addr()?;
        let database = settings::database_settings(config)?;
        // Before any file is created.
        database.refuse_missing()?;
        let issuer = config.issuer(address);
        let sender = mail::SenderParts::new(config, &issuer, clock)?;
        config.create_data_dir()?;
        let secrets = config.master_secret()?;
        let throttle = Arc::new(LoginThrottle::new(
            secrets.current.derive(Purpose::LoginThrottle),
            settings::throttle_settings(config),
            clock.clone(),
        ));
        let api = services::build(config, clock, &database, &secrets, &throttle, issuer).await?;
        let origins = ClientOrigins::load(api.clients.clone()).await?;
        let settings = http_settings(config, &api.issuer, clock);
        let limits = services::limits_by_address(config, &settings);
        let may_share_port = socket.is_inherited || config.reuse_port;
        let running = listen(socket, config, &settings, &api, &limits, &origins, tls.clone())?;
        let tasks = Tasks {
            api: api.clone(),
            throttle,
            limits,
            origins,
            clock: clock.clone(),
            max_token_age: settings::max_token_age(config),
            sync_mode: settings::sync_mode(config),
            tls,
            row_counts: settings.requests.as_ref().map(|_| Arc::default()),
            secret_file: secrets.file,
            secret_file_missing: Arc::default(),
            mail_sender: sender.sender(&api).map(Arc::new),
        };
        let sources = settings.requests.clone().zip(tasks.row_counts.clone());
        let sources = sources.map(|(requests, row_counts)| MetricsSources {
            api: api.clone(),
            limits: tasks.limits.clone(),
            throttle: Arc::clone(&tasks.throttle),
            requests,
            row_counts,
            tls: tasks.tls.clone(),
            secret_file_missing: Arc::clone(&tasks.secret_file_missing),
            clock: clock.clone(),
            dropped_lines,
        });
        let mut auxiliary =
            listen_auxiliary(config, &api.issuer, sources, may_share_port, clock).await?;
        let tls = tasks.tls.clone();
        auxiliary
            .extend(admin_listener::listen(config, &settings, &api, may_share_port, tls).await?);
        Ok(Self { address, api, running, auxiliary, tasks })
    }

    /// The address it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The API's services, for code that embeds Doorward.
    #[must_use]
    pub const fn api(&self) -> &Api {
        &self.api
    }

    /// Serves until `stop` completes and every accepted request is answered.
    ///
    /// # Errors
    /// The error that ended the server.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { running, auxiliary, tasks, api, .. } = self;
        let watch = api.db.change_source().map_err(io::Error::other)?;
        let (alive, gone) = tokio::sync::watch::channel(());
        let serve = Box::pin(async {
            let stop = async {
                stop.await;
                tracing::info!("stopping");
            };
            let result = running.run_until(stop).await;
            drop(alive);
            result
        });
        let auxiliary = join_all(auxiliary.into_iter().map(|one| one.run_until(gone.clone())));
        let result = tokio::select! {
            (result, _) = async { tokio::join!(serve, auxiliary) } => result,
            () = Box::pin(tasks.run(watch)) => Ok(()),
        };
        // The events of the last second. An unavailable database is reported in the log.
        let _ = api.audit.write_aggregates().await;
        result
    }
}

fn http_settings(config: &Config, issuer: &str, clock: &Clock) -> web::Data<HttpSettings> {
    web::Data::new(HttpSettings {
        trusted_proxies: config.trusted_proxies.clone(),
        forwarded_for_warning: Arc::default(),
        max_body_bytes: config.limits.max_body_bytes,
        body_timeout: config.limits.request_timeout,
        hsts: settings::hsts(config, issuer),
        cookies: settings::cookie_policy(config, issuer),
        is_shutting_down: Arc::new(AtomicBool::new(false)),
        is_draining: Arc::new(AtomicBool::new(false)),
        in_progress: RequestsInProgress::default(),
        clock: clock.clone(),
        refusals: Arc::default(),
        requests: config.metrics.enabled.then(Requests::default),
    })
}

/// Starts the auxiliary listeners of the settings.
async fn listen_auxiliary(
    config: &Config,
    issuer: &str,
    sources: Option<MetricsSources>,
    may_share_port: bool,
    clock: &Clock,
) -> Result<Vec<AuxiliaryListener>, StartError> {
    let mut auxiliary = Vec::new();
    if let Some(from) = config.tls.http_redirect_listen {
        auxiliary.push(listen_for_http_redirect(from, issuer, may_share_port, clock).await?);
    }
    if let Some(sources) = sources {
        let routes = metrics::routes(sources);
        let at = config.metrics.listen;
        let listener =
            AuxiliaryListener::listen("metrics.listen", at, may_share_port, clock, routes).await?;
        auxiliary.push(listener);
    }
    Ok(auxiliary)
}

/// Starts the plain-HTTP listener that redirects to the issuer's origin.
async fn listen_for_http_redirect(
    from: SocketAddr,
    issuer: &str,
    may_share_port: bool,
    clock: &Clock,
) -> Result<AuxiliaryListener, StartError> {
    let origin = Url::parse(issuer).map(|url| url.origin().ascii_serialization());
    let redirect_target =
        web::Data::new(redirect::RedirectTarget(origin.unwrap_or_else(|_| issuer.to_owned())));
    let routes = move |config: &mut web::ServiceConfig| {
        config.app_data(redirect_target.clone());
        redirect::routes(config);
    };
    AuxiliaryListener::listen("tls.http_redirect_listen", from, may_share_port, clock, routes).await
}

fn listen(
    socket: Socket,
    config: &Config,
    settings: &web::Data<HttpSettings>,
    api: &Api,
    limits: &Limits,
    client_origins: &ClientOrigins,
    tls: Option<Tls>,
) -> io::Result<HttpServer> {
    // Long enough for a body that arrives at the last moment and its response.
    let response_timeout = RESPONSE_TIMEOUT.min(2 * config.limits.request_timeout);
    let server_settings = ServerSettings {
        workers: config.worker_threads(),
        blocking_threads: api.db.reading_threads(config.worker_threads()),
        connections_per_worker: CONNECTIONS_PER_WORKER,
        head_timeout: config.limits.request_timeout,
        keep_alive: KEEP_ALIVE.min(response_timeout),
        response_timeout,
        socket_is_inherited: socket.is_inherited,
        shutdown_delay: config.shutdown_delay,
        drain_timeout: Duration::from_secs(1),
        shutdown_timeout: config.shutdown_timeout,
        is_shutting_down: Arc::clone(&settings.is_shutting_down),
        is_draining: Arc::clone(&settings.is_draining),
        in_progress: settings.in_progress.clone(),
        raw: Arc::new(RawErrors { hsts: settings.hsts.clone(), clock: settings.clock.clone() }),
        tls,
    };
    let (settings, api, limits) = (settings.clone(), web::Data::new(api.clone()), limits.clone());
    let cors = web::Data::new(settings::cors_policy(config, client_origins.clone()));
    let has_admin = config.admin.enabled && config.admin.on_main_port;
    server::serve(socket.listener, server_settings, move || {
        let limits = limits.clone();
        actix_web::App::new()
            .app_data(settings.clone())
            .app_data(api.clone())
            .app_data(cors.clone())
            .configure(move |routes| {
                if has_admin {
                    http::admin_routes(routes);
                }
                http::routes(routes, &limits);
            })
            .wrap(from_fn(middleware::reject_invalid))
            .wrap(cors.middleware())
            .wrap(from_fn(cors::explain))
            .wrap(from_fn(middleware::handle_request))
    })
}
