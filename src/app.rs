//! Puts the parts together: start, background tasks, graceful stop.
//!
//! The same [`App::build`] serves production and the tests, which bring a clock of their own and
//! listen on port 0.

pub mod operate;
mod welcome;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_cors::Cors;
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::middleware::from_fn;
use actix_web::web;

use crate::accounts::Accounts;
use crate::accounts::budget::{BudgetSettings, LoginBudget};
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{self, Config, ConfigError};
use crate::database::{Database, DatabaseSettings, FileWatch, OpenError, StoreError, Watch};
use crate::http::cors::ClientOrigins;
use crate::http::limits::{AddressLimiter, FailureLimiter, Rate, SessionLimiter};
use crate::http::server::{self, Running, ServerSettings};
use crate::http::{self, Api, HttpSettings, Limits, door};
use crate::keys::{KeyPolicy, Keys, KeysError, Seal};
use crate::passwords::{HashCost, Hasher, HasherSettings, PasswordPolicy};
use crate::refresh_token::TagKeys;
use crate::revocations::follow::FollowBy;
use crate::revocations::{RevocationPolicy, Revocations, WhenStale};
use crate::secret::Purpose;
use crate::sessions::{SessionPolicy, Sessions};
use crate::tokens::Expected;

/// How often the file is looked at for what other processes revoked.
const WATCH: Duration = Duration::from_millis(100);

/// How often expired rows are purged, limiters swept and signing keys looked after.
const MAINTENANCE: Duration = Duration::from_secs(60);

/// How often a port in use is tried again, and how long between.
const BIND_ATTEMPTS: u32 = 10;
const BIND_PAUSE: Duration = Duration::from_millis(100);

/// The clock may gain so much in a minute and still be believed.
const MAX_CLOCK_JUMP: Duration = Duration::from_secs(30);

/// The pause between two batches of a purge, in which other units of work have their turn.
const PURGE_PAUSE: Duration = Duration::from_millis(20);

/// How long a connection may idle between requests.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a connection may go on without being answered, whatever it sends.
const SILENCE: Duration = Duration::from_secs(25);

/// Connections that a worker holds at a time; further ones wait in the kernel.
const CONNECTIONS_PER_WORKER: usize = 10_000;

/// Why the service does not start: one line that says what, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is taken or not this machine's.
    #[error(
        "cannot listen on {0}: {1}; stop what uses that port, or choose another address with --listen"
    )]
    Listen(SocketAddr, io::Error),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The database was opened and then did not answer.
    #[error(
        "the database failed during start ({0}); the log has the cause, try again when it is mended"
    )]
    Store(#[from] StoreError),
    /// The signing keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The system gave no thread or socket.
    #[error("cannot start: {0}; check the limits on threads, memory and open files")]
    System(#[from] io::Error),
}

/// A service that is ready and listens.
pub struct App {
    address: SocketAddr,
    api: Api,
    running: Running,
    tasks: Tasks,
}

/// What runs beside the requests.
#[derive(Clone)]
struct Tasks {
    api: Api,
    budget: Arc<LoginBudget>,
    limits: Limits,
    origins: ClientOrigins,
    clock: Clock,
    /// The life of an access token, with the leeway that verifiers grant.
    longest_token: Duration,
    follow_by: FollowBy,
}

/// Runs the service until SIGTERM or SIGINT.
///
/// # Errors
/// [`StartError`] when it cannot start, or what ended it.
pub fn run(config: &Config) -> Result<(), StartError> {
    actix_web::rt::System::new().block_on(async {
        // Before anybody can know that it runs: a signal that comes during the start counts too.
        let stop = stop_signal()?;
        let app = App::build(config, &Clock::system()).await?;
        tracing::info!(address = %app.address, issuer = app.api.issuer, "listening");
        if config.public_url.is_empty() && app.address.ip().is_unspecified() {
            tracing::warn!(
                issuer = app.api.issuer,
                "nobody can reach the issuer under this name; set public_url"
            );
        }
        if config.log.format == config::LogFormat::Text {
            welcome::print(&app.api.issuer);
        }
        Ok(app.run(stop).await?)
    })
}

impl App {
    /// Opens, loads and binds everything; from here on the socket accepts connections.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn build(config: &Config, clock: &Clock) -> Result<Self, StartError> {
        let listener =
            bind(config.listen).await.map_err(|e| StartError::Listen(config.listen, e))?;
        let address = listener.local_addr()?;
        config.create_data_dir()?;
        let secrets = config.master_secret()?;
        let keys_for = |purpose| {
            let previous = secrets.previous.as_ref().map(|secret| secret.derive(purpose));
            (secrets.current.derive(purpose), previous)
        };
        let issuer = config.issuer(address);
        let token_life = config.tokens.lifetime + config.tokens.verifier_leeway;

        let db = Database::open(&database_settings(config)?)?;
        let policy = RevocationPolicy {
            token_life,
            max_staleness: config.revocations.max_staleness,
            when_stale: match config.revocations.when_stale {
                config::WhenStale::FailClosed => WhenStale::FailClosed,
                config::WhenStale::FailOpen => WhenStale::FailOpen,
            },
        };
        let revocations = Revocations::load(db.clone(), clock.clone(), policy).await?;
        let policy = KeyPolicy {
            algorithm: config.tokens.algorithm,
            lifetime: config.tokens.key_lifetime,
            jwks_max_age: config.tokens.jwks_max_age,
            token_life,
        };
        let (current, previous) = keys_for(Purpose::SigningKeySeal);
        let keys =
            Keys::load(db.clone(), clock.clone(), Seal { current, previous }, policy).await?;
        let (current, previous) = keys_for(Purpose::RefreshTokenTag);
        let sessions = Sessions::new(
            db.clone(),
            clock.clone(),
            keys.clone(),
            revocations.clone(),
            TagKeys::new(current, previous),
            session_policy(config, &issuer),
        );
        let budget = Arc::new(LoginBudget::new(
            secrets.current.derive(Purpose::LoginBudget),
            BudgetSettings {
                per_origin: config.limits.failed_logins_per_address,
                per_account: config.limits.failed_logins_per_account,
                window: config.limits.failed_login_window,
                max_keys: config.limits.max_keys,
            },
            clock.clone(),
        ));
        let accounts = Accounts::new(
            db.clone(),
            clock.clone(),
            Hasher::start(hasher_settings(config), clock.clone())?,
            PasswordPolicy {
                min_length: config.passwords.min_length,
                min_score: config.passwords.min_score,
            },
            Arc::clone(&budget),
            sessions.clone(),
        );

        let settings = web::Data::new(HttpSettings {
            trusted_proxies: config.trusted_proxies.clone(),
            body_bytes: config.limits.body_bytes,
            body_timeout: config.limits.request_timeout,
            hsts: issuer.starts_with("https://"),
            draining: Arc::new(AtomicBool::new(false)),
            clock: clock.clone(),
        });
        let buckets = NonZeroUsize::new(config.limits.max_keys).unwrap_or(NonZeroUsize::MIN);
        let by_address = |per_minute, burst| {
            AddressLimiter::new(rate(per_minute, burst), buckets, settings.clone())
        };
        let limits = Limits {
            register: by_address(config.limits.register_per_minute, config.limits.register_burst),
            password: by_address(config.limits.login_per_minute, config.limits.login_burst),
        };
        let refresh = rate(config.limits.refresh_per_minute, config.limits.refresh_burst);
        let refresh_limit = SessionLimiter::new(refresh, buckets);
        let failures = rate(config.limits.login_per_minute, config.limits.login_burst);
        let client_failures = FailureLimiter::new(failures, buckets);
        let clients = Clients::new(db.clone(), clock.clone());
        let origins = ClientOrigins::load(clients.clone()).await?;
        let api = Api {
            accounts,
            sessions,
            clients,
            keys,
            revocations,
            db,
            refresh_limit,
            client_failures,
            issuer,
        };
        let running = listen(listener, config, &settings, &api, &limits, &origins)?;
        let follow_by = match config.revocations.follow {
            config::Follow::Notify => FollowBy::Notify,
            config::Follow::Reload => FollowBy::Reload,
        };
        let (all, clock, longest_token) = (api.clone(), clock.clone(), token_life);
        let tasks = Tasks { api: all, budget, limits, origins, clock, longest_token, follow_by };
        Ok(Self { address, api, running, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The parts, for whoever embeds the service.
    #[must_use]
    pub const fn api(&self) -> &Api {
        &self.api
    }

    /// Serves until `stop` is done and every request that was accepted is answered.
    ///
    /// # Errors
    /// Whatever ended the server before.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { running, tasks, api, .. } = self;
        let watch = api.db.watch().map_err(io::Error::other)?;
        let background = async {
            tokio::join!(
                tasks.follow(watch),
                tasks.origins.follow(),
                tasks.maintain(),
                tasks.purge()
            );
        };
        tokio::select! {
            result = running.until(stop) => result,
            () = background => Ok(()),
        }
    }
}

/// Binds the port; a predecessor that has just been told to stop holds it for a moment yet.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    for _ in 0..BIND_ATTEMPTS {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(BIND_PAUSE).await;
            }
            result => return result,
        }
    }
    TcpListener::bind(address)
}

fn database_settings(config: &Config) -> Result<DatabaseSettings, ConfigError> {
    Ok(DatabaseSettings {
        url: config.database()?,
        pool_size: config.database.pool_size,
        statement_timeout: config.database.statement_timeout,
        migrate: config.database.migrate,
    })
}

fn session_policy(config: &Config, issuer: &str) -> SessionPolicy {
    SessionPolicy {
        sliding: config.sessions.sliding,
        absolute: config.sessions.absolute,
        retry_window: config.sessions.retry_window,
        max_per_user: config.sessions.max_per_user,
        keep_ended: config.sessions.keep_ended,
        known_address_for: config.limits.known_address_for,
        expected: Expected {
            issuer: issuer.to_owned(),
            audience: config.audience.clone(),
            leeway: Duration::ZERO,
        },
        token_lifetime: config.tokens.lifetime,
    }
}

fn hasher_settings(config: &Config) -> HasherSettings {
    HasherSettings {
        cost: HashCost {
            memory_kib: config.passwords.memory_kib,
            iterations: config.passwords.iterations,
            parallelism: config.passwords.parallelism,
        },
        threads: config.passwords.hashing_threads(),
        queue: config.passwords.queue_length(),
        deadline: config.passwords.queue_deadline,
    }
}

fn rate(per_minute: u32, burst: u32) -> Rate {
    Rate {
        burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
        every: Duration::from_secs(60) / per_minute.max(1),
    }
}

fn listen(
    listener: TcpListener,
    config: &Config,
    settings: &web::Data<HttpSettings>,
    api: &Api,
    limits: &Limits,
    client_origins: &ClientOrigins,
) -> io::Result<Running> {
    // Long enough for a body that comes at the last moment and the answer to it.
    let silence = SILENCE.min(2 * config.limits.request_timeout);
    let how = ServerSettings {
        workers: config.worker_threads(),
        connections_per_worker: CONNECTIONS_PER_WORKER,
        head_timeout: config.limits.request_timeout,
        keep_alive: KEEP_ALIVE.min(silence),
        silence,
        drain: Duration::from_secs(1),
        finish: config.shutdown_timeout,
        draining: Arc::clone(&settings.draining),
    };
    let (settings, api, limits) = (settings.clone(), web::Data::new(api.clone()), limits.clone());
    let (origins, client_origins) = (config.cors.origins.clone(), client_origins.clone());
    server::serve(listener, how, move || {
        let limits = limits.clone();
        actix_web::App::new()
            .app_data(settings.clone())
            .app_data(api.clone())
            .configure(move |routes| http::routes(routes, &limits))
            .wrap(from_fn(door::refuse))
            .wrap(cors(&origins, &client_origins))
            .wrap(from_fn(door::door))
    })
}

fn cors(origins: &[String], of_clients: &ClientOrigins) -> Cors {
    const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
    let of_clients = of_clients.clone();
    origins
        .iter()
        .fold(Cors::default(), |cors, origin| cors.allowed_origin(origin))
        .allowed_origin_fn(move |origin, _| of_clients.contains(origin))
        .allowed_methods(["GET", "POST", "DELETE"])
        .allowed_headers([AUTHORIZATION, CONTENT_TYPE, IDEMPOTENCY_KEY])
        .expose_headers([RETRY_AFTER, WWW_AUTHENTICATE, door::REQUEST_ID])
        .max_age(3600)
}

impl Tasks {
    /// Learns what other processes revoke.
    async fn follow(&self, watch: Watch) {
        match watch {
            Watch::File(watch) => self.follow_file(watch).await,
            Watch::Server(link) => {
                self.api.revocations.follow_server(link, self.follow_by).await;
            }
        }
    }

    /// Looks ten times a second whether the file was changed.
    async fn follow_file(&self, mut watch: FileWatch) {
        let mut tick = tokio::time::interval(WATCH);
        loop {
            tick.tick().await;
            let revocations = self.api.revocations.clone();
            let looked = tokio::task::spawn_blocking(move || {
                // What cannot be read makes the list stale, which is seen by whoever asks it.
                let _ = revocations.follow_file(&mut watch);
                watch
            });
            match looked.await {
                Ok(again) => watch = again,
                Err(_) => return,
            }
        }
    }

    /// Looks after keys and gives back memory. What fails is tried again next time.
    async fn maintain(&self) {
        let mut tick = tokio::time::interval(MAINTENANCE);
        loop {
            tick.tick().await;
            if let Err(error) = self.api.keys.maintain().await {
                tracing::error!(%error, "the signing keys could not be looked after");
            }
            self.budget.sweep();
            self.limits.register.sweep();
            self.limits.password.sweep();
            self.api.refresh_limit.sweep();
            self.api.client_failures.sweep();
        }
    }

    /// Deletes what is no longer needed.
    ///
    /// A clock that is wrong for a while must not make it forget what was revoked. So nothing is
    /// deleted until the clock has gone evenly for as long as an access token lives: then no token
    /// from before is alive, whatever the clock said. Nor while it is far from the database's.
    async fn purge(&self) {
        let mut tick = tokio::time::interval(MAINTENANCE);
        let (mut seen, mut seen_at) = (self.clock.now(), self.clock.monotonic());
        let mut even_since = seen_at;
        loop {
            tick.tick().await;
            let (now, at) = (self.clock.now(), self.clock.monotonic());
            let (told, passed) = (now.since(seen), at.duration_since(seen_at));
            if told.abs_diff(passed) > MAX_CLOCK_JUMP {
                tracing::warn!(
                    ?told,
                    ?passed,
                    "the clock has jumped; nothing is purged for a while"
                );
                even_since = at;
            }
            (seen, seen_at) = (now, at);
            let agrees = self.api.revocations.clock_difference() < MAX_CLOCK_JUMP;
            if agrees && at.duration_since(even_since) > self.longest_token {
                self.purge_now().await;
            }
        }
    }

    /// Small batches, between which other units of work have their turn.
    async fn purge_now(&self) {
        let Api { revocations, sessions, accounts, .. } = &self.api;
        while let Ok(true) = revocations.purge().await {
            tokio::time::sleep(PURGE_PAUSE).await;
        }
        while let Ok(true) = sessions.purge().await {
            tokio::time::sleep(PURGE_PAUSE).await;
        }
        while let Ok(true) = accounts.purge().await {
            tokio::time::sleep(PURGE_PAUSE).await;
        }
    }
}

/// Done at the first SIGTERM or SIGINT. The second ends the process at once, as it does by default.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("stopped by a second signal");
            std::process::exit(1);
        });
    })
}
