//! Several nodes with one database: every node rejects tokens that another one revokes.

mod keys;
mod revocations;
mod roles;

use crate::proxy::Proxy;
use crate::support::TestApp;
use crate::support::postgres::Cluster;

/// Two nodes, of which the second reaches the database through a proxy.
async fn one_beside_a_proxy() -> (Proxy, TestApp, TestApp) {
    let cluster = Cluster::shared();
    let direct = cluster.database();
    let proxy = Proxy::to(cluster.port);
    let behind = TestApp::on_database(proxy.url(&direct), |_| {}).await;
    let beside = behind
        .another_node_with(|config| {
            config.database_url = Some(doorward::secret::Secret::new(direct));
        })
        .await;
    (proxy, beside, behind)
}
