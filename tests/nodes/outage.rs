//! The database unreachable, frozen, disconnected, slow, restarted and failed over, under load.
//!
//! In every case each request is answered, with its result or with a 503 that asks for a retry;
//! nothing acknowledged is lost, nothing revoked is accepted; and soon after the database is back,
//! so is the service.

mod frozen;
mod recovery;
mod verification;

use std::time::Duration;

use doorward::config::Config;

use crate::proxy::Proxy;
use crate::support::client::Call;
use crate::support::postgres::Cluster;
use crate::support::{TestApp, Tokens};

async fn behind_a_proxy_with(change: impl FnOnce(&mut Config)) -> (Proxy, TestApp) {
    let cluster = Cluster::shared();
    let proxy = Proxy::to(cluster.port);
    let app = TestApp::on_database(proxy.url(&cluster.database()), change).await;
    (proxy, app)
}

/// Every refresh rotates, and every replay needs its key.
fn strict(config: &mut Config) {
    config.sessions.retry_window = Duration::ZERO;
    config.sessions.max_per_user = 10_000;
}

fn refresh(app: &TestApp, tokens: &Tokens, key: &str) -> Call {
    let body = serde_json::json!({ "refresh_token": tokens.refresh });
    app.post("/refresh").header("idempotency-key", key).json(&body)
}
