//! Signing keys that another node made or revoked, and clocks.

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::database::schema::signing_keys;
use doorward::keys::KeyLookup;
use doorward::sessions::authenticate::AccessError;
use futures_util::future::join_all;

use crate::proxy::Network;
use crate::support::client::PASSWORD;
use crate::support::jwt::Jwt;
use crate::support::keys::{kid_of, revoke_key};
use crate::support::postgres::Cluster;
use crate::support::{TestApp, until};

use super::one_beside_a_proxy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_started_simultaneously_on_an_empty_database_create_one_schema_and_one_key() {
    let url = Cluster::shared().empty_database();
    let start = || Box::pin(TestApp::on_database(url.clone(), |_| {}));
    let nodes = join_all([start(), start(), start()]).await;
    let user = nodes[0].signed_up().await;
    let mut key_sets = Vec::new();
    for node in &nodes {
        node.me(&user.tokens.access).await.assert_status(200);
        key_sets.push(node.get("/.well-known/jwks.json").send().await.text);
    }
    assert!(key_sets.iter().all(|set| *set == key_sets[0]), "{key_sets:?}");
    let stored = nodes[0].db().read(|c| signing_keys::table.count().get_result::<i64>(c));
    assert_eq!(stored.await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_nodes_key_is_looked_up_and_lookups_of_unknown_ones_are_rate_limited() {
    let one = TestApp::start().await;
    let user = one.signed_up().await;
    let forget = |c: &mut PgConnection| diesel::delete(signing_keys::table).execute(c);
    let mut c = PgConnection::establish(one.database()).unwrap();
    forget(&mut c).unwrap();
    let other = one.another_node().await;
    let tokens = other.log_in(&user.email, PASSWORD).await.tokens();
    one.me(&tokens.access).await.assert_status(200);
    // And the removed key stays removed.
    one.me(&user.tokens.access).await.assert_problem(401, "invalid_token");

    forget(&mut c).unwrap();
    let third = one.another_node().await;
    let tokens = third.log_in(&user.email, PASSWORD).await.tokens();
    // The next lookup finds none, and for a while there is no other.
    c.batch_execute("CREATE TABLE aside AS TABLE signing_keys; DELETE FROM signing_keys").unwrap();
    assert_eq!(one.api.keys.look_up("no-such-key").await, KeyLookup::Unknown);
    c.batch_execute("INSERT INTO signing_keys TABLE aside").unwrap();
    one.me(&tokens.access).await.assert_problem(401, "invalid_token");
    until(async || one.me(&tokens.access).await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_revoked_on_one_node_is_rejected_by_the_other() {
    let one = TestApp::start().await;
    let other = one.another_node().await;
    let user = one.signed_up().await;
    let kid = kid_of(&user.tokens.access);
    let signing = revoke_key(&one, &kid).await.unwrap();
    until(async || other.me(&user.tokens.access).await.status == 401).await;
    until(async || other.api.keys.signing().kid() == signing).await;
    let tokens = other.log_in(&user.email, PASSWORD).await.tokens();
    for node in [&one, &other] {
        node.me(&tokens.access).await.assert_status(200);
        node.me(&user.tokens.access).await.assert_problem(401, "invalid_token");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_gets_a_503_while_the_database_is_unreachable() {
    let (proxy, _, one) = one_beside_a_proxy().await;
    let user = one.signed_up().await;
    proxy.set(Network::Refused);
    let token = with_another_kid(&user.tokens.access);
    let verdict = one.api.sessions.authenticate(&token).await;
    assert!(matches!(verdict, Err(AccessError::KeysUnavailable)), "{verdict:?}");
    let answer = one.me(&token).await.assert_problem(503, "unavailable");
    assert_eq!(answer.body["transient"], true);
    proxy.set(Network::Up);
    until(async || one.me(&token).await.status == 401).await;
    one.me(&user.tokens.access).await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wrong_clock_is_not_ready() {
    let app = TestApp::start().await;
    let ready = async || app.get("/readyz").send().await;
    let caught_up = async || {
        app.catch_up();
        ready().await
    };
    until(async || caught_up().await.status == 200).await;
    let body = caught_up().await.body;
    assert!(body["clock_skew_seconds"].as_f64().unwrap() < 5.0, "{body}");
    assert!(body["revocations_age_seconds"].as_f64().unwrap() < 5.0, "{body}");
    app.advance(20);
    until(async || ready().await.status == 503).await;
    let answer = ready().await.assert_problem(503, "not_ready");
    assert!(answer.text.contains("clocks"), "{}", answer.text);
}

/// The token, as if another key had signed it.
fn with_another_kid(token: &str) -> String {
    Jwt::read(token).with_header("kid", "anotherkey1").to_string()
}
