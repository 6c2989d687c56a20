//! The real service on a port of its own, with a data directory of its own and a clock that the
//! test holds.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use diesel::prelude::*;
use doorward::app::App;
use doorward::clock::{Clock, Timestamp};
use doorward::config::Config;
use doorward::database::schema::sessions;
use doorward::database::{Database, Id};
use doorward::http::Api;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// The public URL of every test's service: fixed, so that tokens stay good across a restart on
/// another port.
pub const ISSUER: &str = "http://doorward.test";

/// A running service. It stops when this is dropped.
pub struct TestApp {
    pub address: SocketAddr,
    pub clock: Clock,
    pub config: Config,
    pub api: Api,
    pub http: reqwest::Client,
    // Before the directory, so that the service has stopped when its data goes.
    server: Server,
    directory: TempDir,
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
    /// A service as it comes, but for limits by address, which would mistake a test for a flood.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A service with other settings.
    #[expect(
        clippy::unused_async,
        reason = "starting may come to wait; no test should change then"
    )]
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            public_url: ISSUER.into(),
            data_dir: directory.path().join("data"),
            workers: 2,
            // A test that ends keeps its idle connections, which a stop would wait for.
            shutdown_timeout: Duration::ZERO,
            ..Config::default()
        };
        config.limits.login_burst = 100_000;
        config.limits.register_burst = 100_000;
        config.limits.refresh_burst = 100_000;
        change(&mut config);
        let clock = Clock::manual(Timestamp::from_unix_seconds(1_800_000_000));
        Self::on(directory, config, clock)
    }

    fn on(directory: TempDir, config: Config, clock: Clock) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = mpsc::channel();
        let (own_config, own_clock) = (config.clone(), clock.clone());
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let app = App::build(&own_config, &own_clock).await.unwrap();
                ready.send((app.address(), app.api().clone())).unwrap();
                let stop = async {
                    let _ = stopped.await;
                };
                app.run(stop).await.unwrap();
            });
        });
        let (address, api) = started.recv().expect("the service starts");
        let server = Server { stop: Some(stop), thread: Some(thread) };
        // A pooled connection that the server has just closed for being idle would fail a request.
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, clock, config, api, http, server, directory }
    }

    /// Stops the service as a deployment does, and starts it again on the same data.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same with other settings.
    #[expect(
        clippy::unused_async,
        reason = "starting may come to wait; no test should change then"
    )]
    pub async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { server, directory, mut config, clock, .. } = self;
        drop(server);
        change(&mut config);
        Self::on(directory, config, clock)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn db(&self) -> &Database {
        &self.api.db
    }

    /// The ids of the user's sessions that nobody has ended.
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

    /// How many passwords have been hashed since the start.
    pub fn hashed(&self) -> u64 {
        self.api.accounts.hasher().hashed()
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}
