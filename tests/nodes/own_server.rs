//! Servers and databases of a test's own.

use doorward::config::Config;
use rustix::process::Signal;

use crate::support::TestApp;
use crate::support::app::Place;
use crate::support::postgres::Cluster;

impl TestApp {
    /// A service on this PostgreSQL database, with the default statement timeout.
    pub async fn on_database(url: String, change: impl FnOnce(&mut Config)) -> Self {
        Self::at(Place::of(Some(url)), change).await
    }
}

impl Cluster {
    /// A standby of this server, which can be promoted.
    pub fn standby(&self) -> Self {
        let standby = Self::new();
        let source = format!("host=127.0.0.1 port={} user=doorward", self.port);
        standby.program("pg_basebackup", &["-D", "data", "-R", "-d", &source, "--no-sync"]);
        standby.serving(&[])
    }

    /// Kills the server like a crash.
    pub fn crash(&mut self) {
        self.end(Signal::QUIT);
    }
}
