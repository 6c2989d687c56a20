//! The real service on a separate port, with its own data and a clock that the test controls: on
//! SQLite, and in the test program `postgres` on PostgreSQL.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use diesel::prelude::*;
use doorward::accounts::admin::{AccountAdmin, Announcement};
use doorward::app::{App, StartError};
use doorward::clock::{Clock, Timestamp};
use doorward::config::Config;
use doorward::database::schema::sessions;
use doorward::database::{Database, Id, OpenError};
use doorward::http::Api;
use doorward::secret::Secret;
use doorward::tokens::TokenSizeLimit;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::binary::PATIENT;
use super::postgres::{Cluster, on_postgres};

/// The public URL of every test's service: fixed, so that tokens stay valid across a restart on
/// another port.
pub const ISSUER: &str = "http://doorward.test";

/// Argon2's memory in the tests, in KiB; its passes are the default.
pub const CHEAP_KIB: u32 = 256;

/// The default memory, for tests in which hashes must take their time.
pub const COSTLY_KIB: u32 = 19_456;

/// The PostgreSQL pool size for many concurrent requests: a request that has waited for a
/// connection for a second is rejected.
pub const CROWD: u32 = 32;

/// The master secret of the services on PostgreSQL, whose nodes share it.
pub const SECRET: &str = "lxL5sPGEfU4zbzzvNW34JHaRPmEyPOzEr7ASqrTn6Rs";

/// A running service. It stops when this is dropped.
pub struct TestApp {
    pub address: SocketAddr,
    pub clock: Clock,
    pub config: Config,
    pub api: Api,
    pub http: reqwest::Client,
    /// The clock's time at the first start.
    began_at: Timestamp,
    // Before the directory, so that the service has stopped when its data is removed.
    server: Server,
    place: Arc<Place>,
}

/// The data of a service; several nodes may share it. It is removed with the last of them.
pub(crate) struct Place {
    directory: TempDir,
    /// PostgreSQL's URL.
    database: Option<String>,
}

impl Place {
    fn new() -> Self {
        Self::of(on_postgres().then(|| Cluster::shared().database()))
    }

    pub(crate) fn of(database: Option<String>) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), database }
    }

    /// The present, which commands have, too: PostgreSQL's, or this machine's with SQLite.
    fn clock() -> Clock {
        let start = Timestamp::from_unix_seconds(Clock::system().now().unix_seconds());
        Clock::manual(start)
    }
}

/// The service's own thread; it stops when this is dropped.
struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            matches!(ended, Some(Ok(()))) || std::thread::panicking(),
            "the service stops without a panic"
        );
    }
}

impl TestApp {
    /// A service with default settings except the limits by address, which would mistake a test for
    /// a flood.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A service with other settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let change = |config: &mut Config| {
            // A machine that is busy with other tests may need it.
            config.database.statement_timeout = Duration::from_secs(10);
            change(config);
        };
        Self::at(Place::new(), change).await
    }

    pub(crate) async fn at(place: Place, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            public_url: ISSUER.into(),
            data_dir: place.directory.path().join("data"),
            database_url: place.database.clone().map(Secret::new),
            secret: place.database.as_ref().map(|_| Secret::new(SECRET.to_owned())),
            workers: 2,
            // The test's own client keeps idle connections, which a stop would wait for.
            shutdown_timeout: Duration::ZERO,
            ..Config::default()
        };
        // A hash that costs next to nothing: hashes would otherwise take half of the tests' time.
        // Tests about hashing set the parameters that they need.
        config.passwords.memory_kib = CHEAP_KIB;
        // Hashing has a low priority on a machine that is busy with other tests.
        config.passwords.queue_deadline = Duration::from_secs(60);
        // PostgreSQL's clock does not follow the test's; tests about that set it.
        config.revocations.max_clock_skew = Duration::MAX;
        config.limits.login_burst = 100_000;
        config.limits.register_burst = 100_000;
        config.limits.refresh_burst = 100_000;
        change(&mut config);
        let clock = Place::clock();
        Box::pin(Self::start_at(Arc::new(place), config, clock.clone(), clock.now())).await
    }

    /// One more node on the same database, with the same clock.
    pub async fn another_node(&self) -> Self {
        self.another_node_with(|_| {}).await
    }

    /// The same with other settings.
    pub async fn another_node_with(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.config.clone();
        change(&mut config);
        Self::start_at(Arc::clone(&self.place), config, self.clock.clone(), self.began_at).await
    }

    /// One more node on the same database, with another clock.
    pub async fn another_node_by(&self, clock: Clock) -> Self {
        let began_at = clock.now();
        Self::start_at(Arc::clone(&self.place), self.config.clone(), clock, began_at).await
    }

    /// Whether its database is PostgreSQL's.
    pub fn is_on_postgres(&self) -> bool {
        self.place.database.is_some()
    }

    /// The URL of its PostgreSQL database.
    pub fn database(&self) -> &str {
        self.place.database.as_deref().expect("it is on PostgreSQL")
    }

    async fn start_at(
        place: Arc<Place>,
        config: Config,
        clock: Clock,
        began_at: Timestamp,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = oneshot::channel();
        let (own_config, own_clock) = (config.clone(), clock.clone());
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let app = built(&own_config, &own_clock).await;
                let _ = ready.send((app.address(), app.api().clone()));
                let stop = async {
                    let _ = stopped.await;
                };
                Box::pin(app.run(stop)).await.unwrap();
            });
        });
        let (address, api) = started.await.expect("the service starts");
        let server = Server { stop: Some(stop), thread: Some(thread) };
        if place.database.is_some() {
            // Connections are opened in the background.
            super::until(async || api.db.load().connections == config.database.pool_size).await;
        }
        // A pooled connection that the server has just closed as idle would fail a request.
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, clock, config, api, http, began_at, server, place }
    }

    /// Stops the service as a deployment does, and starts it again on the same data.
    pub async fn restart(self) -> Self {
        Box::pin(self.restart_with(|_| {})).await
    }

    /// The same with other settings.
    pub async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { server, place, mut config, clock, began_at, .. } = self;
        drop(server);
        change(&mut config);
        Box::pin(Self::start_at(place, config, clock, began_at)).await
    }

    /// `doorward` on the data of this service, as an operator runs it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
        command.env_clear().current_dir(self.place.directory.path()).stdin(Stdio::null());
        command.env("DOORWARD_DATA_DIR", &self.config.data_dir).env(PATIENT.0, PATIENT.1);
        if let Some(url) = &self.place.database {
            command.env("DOORWARD_DATABASE_URL", url).env("DOORWARD_SECRET", SECRET);
        }
        command.args(arguments);
        command
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn db(&self) -> &Database {
        &self.api.db
    }

    /// The ids of the user's sessions that have not been ended.
    pub async fn live_sessions(&self, user: &str) -> Vec<String> {
        let user = super::id(user);
        let live = self.db().read(move |c| {
            sessions::table
                .filter(sessions::user_id.eq(user))
                .filter(sessions::revoked_at.is_null())
                .select(sessions::id)
                .load::<Id>(c)
        });
        live.await.unwrap().iter().map(Id::to_string).collect()
    }

    /// Account administration, on a machine whose clock is this node's.
    pub fn admin(&self) -> AccountAdmin {
        let revocations = self.api.revocations.clone();
        let limit = TokenSizeLimit {
            max_bytes: self.config.tokens.max_bytes,
            algorithm: self.config.tokens.algorithm,
            issuer: self.api.issuer.clone(),
            audience: self.config.audience.clone(),
        };
        AccountAdmin::new(
            self.db().clone(),
            self.clock.clone(),
            revocations,
            Announcement::AtCommit,
            limit,
        )
    }

    /// The number of passwords hashed since the start.
    pub fn hashed(&self) -> u64 {
        self.api.accounts.hasher().hashed()
    }

    /// The time this many seconds after the first start, in the format of a response.
    pub fn moment(&self, seconds: u64) -> String {
        self.began_at.plus(Duration::from_secs(seconds)).to_string()
    }

    /// Sets the clock to the current time, like PostgreSQL's: a node is ready only when the two
    /// agree.
    pub fn catch_up(&self) {
        self.clock.advance(Clock::system().now().since(self.clock.now()));
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// Uses the client address in `X-Forwarded-For`, as behind a proxy on this machine.
pub fn behind_a_proxy(config: &mut Config) {
    config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
}

/// Starts a service, with a retry if PostgreSQL, busy with other tests, did not respond in time.
async fn built(config: &Config, clock: &Clock) -> App {
    for _ in 0..10 {
        match App::build(config, clock).await {
            Err(StartError::Store(_) | StartError::Database(OpenError::Unreachable { .. }))
                if on_postgres() => {}
            built => return built.unwrap(),
        }
    }
    panic!("PostgreSQL does not answer");
}
