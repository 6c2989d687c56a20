//! The service under measurement, in this process, on a thread of its own.

use std::net::SocketAddr;
use std::time::Duration;

use doorward::app::App;
use doorward::clock::Clock;
use doorward::config::Config;
use doorward::secret::{MasterSecret, Secret};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::client::Client;

const EMAIL: &str = "bench@example.com";
const PASSWORD: &str = "seven otters juggle lanterns";

/// A running service. It stops when this is dropped.
pub struct Service {
    pub address: SocketAddr,
    _stop: oneshot::Sender<()>,
    _directory: TempDir,
}

impl Service {
    /// Starts it with the settings as they come, but for limits by address and session, which are
    /// against exactly this.
    pub async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: directory.path().join("data"),
            secret: Some(Secret::new(MasterSecret::generate().to_text().to_string())),
            shutdown_timeout: Duration::ZERO,
            ..Config::default()
        };
        let limits = &mut config.limits;
        (limits.login_per_minute, limits.login_burst) = (60_000, 100_000);
        (limits.register_per_minute, limits.register_burst) = (60_000, 100_000);
        (limits.refresh_per_minute, limits.refresh_burst) = (60_000, 100_000);
        config.sessions.max_per_user = 10_000;
        change(&mut config);
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, started) = oneshot::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let app = App::build(&config, &Clock::system()).await.unwrap();
                let _ = ready.send(app.address());
                let stop = async {
                    let _ = stopped.await;
                };
                app.run(stop).await.unwrap();
            });
        });
        let address = started.await.unwrap();
        Self { address, _stop: stop, _directory: directory }
    }

    /// So many sessions of one account: the refresh token of each.
    pub async fn sessions(&self, count: usize) -> Vec<String> {
        let mut client = Client::connect(self.address).await;
        let credentials = json!({ "email": EMAIL, "password": PASSWORD });
        client.post("/register", "", &credentials).await.expect(201);
        let mut tokens = Vec::new();
        for _ in 0..count {
            let answer = client.post("/login", "", &credentials).await.expect(200).json();
            tokens.push(answer["refresh_token"].as_str().unwrap().to_owned());
        }
        tokens
    }
}
