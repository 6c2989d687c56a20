//! Access tokens while the database is away.

use std::time::Duration;

use doorward::clock::Clock;
use doorward::revocations::StalePolicy;

use crate::proxy::Network;
use crate::support::until;

use super::behind_a_proxy_with;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_verified_without_the_database_for_as_long_as_the_policy_allows() {
    let (proxy, app) = behind_a_proxy_with(|config| {
        config.revocations.max_staleness = Duration::from_secs(15);
    })
    .await;
    let (real, began) = (Clock::system(), Clock::system().monotonic());
    let user = app.signed_up().await;
    let verified = async || app.api.sessions.authenticate(&user.tokens.access).await;
    verified().await.unwrap();
    proxy.set(Network::Refused);
    // From 5 s on a load balancer should choose another node; the token is still valid.
    let not_ready = async || app.get("/readyz").send().await.text.contains("revocation list");
    until(not_ready).await;
    verified().await.unwrap();
    until(async || verified().await.is_err()).await;
    let me = app.me(&user.tokens.access).await.assert_problem(503, "revocations_stale");
    assert_eq!(me.body["transient"], true, "{}", me.text);
    proxy.set(Network::Up);
    until(async || user.me().await.status == 200).await;
    // PostgreSQL's clock has not stood still meanwhile.
    app.clock.advance(real.monotonic() - began);
    let ready = async || {
        app.catch_up();
        app.get("/readyz").send().await.status == 200
    };
    until(ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fail_open_trusts_tokens_with_a_list_of_any_age() {
    let (proxy, app) = behind_a_proxy_with(|config| {
        config.revocations.max_staleness = Duration::ZERO;
        config.revocations.when_stale = StalePolicy::FailOpen;
    })
    .await;
    let user = app.signed_up().await;
    proxy.set(Network::Refused);
    until(async || app.get("/readyz").send().await.status == 503).await;
    app.api.sessions.authenticate(&user.tokens.access).await.unwrap();
}
