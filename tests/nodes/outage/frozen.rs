//! A database that is slow or frozen, and thaws.

use std::time::Duration;

use diesel::prelude::*;
use doorward::audit::EventKind;
use doorward::config::Config;
use doorward::database::AnyConnection;
use doorward::database::schema::{audit_events, sessions};
use doorward::secret::Secret;
use uuid::Uuid;

use crate::proxy::{Network, Proxy};
use crate::support::postgres::Cluster;
use crate::support::{Answer, TestApp, until};

use super::{behind_a_proxy_with, strict};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_on_many_rows_need_few_round_trips() {
    let (proxy, app) = behind_a_proxy_with(|config| {
        strict(config);
        // The machine may be busy with other tests; deleting rows one by one would take two
        // minutes.
        config.database.statement_timeout = Duration::from_secs(10);
        config.audit.retention = Duration::from_secs(86_400);
    })
    .await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    let more = "INSERT INTO sessions SELECT (jsonb_populate_record(sessions,
                    jsonb_build_object('id', gen_random_uuid()))).*
                FROM sessions CROSS JOIN generate_series(1, 600)";
    let more = app.db().write(move |tx| diesel::sql_query(more).execute(tx.connection()));
    assert_eq!(more.await.unwrap(), 1200);

    proxy.set(Network::Far(Duration::from_millis(10)));
    user.log_out_scope("all").await.assert_status(204);
    user.me().await.assert_problem(401, "token_revoked");
    app.refresh(&other.refresh).await.assert_ended("logout");
    for count in 0..200_u128 {
        let somebody = Some(Uuid::from_u128(count).into());
        app.api.audit.record_failure(EventKind::LoginFailed, somebody, "192.0.2.1");
    }
    app.api.audit.write_aggregates().await.unwrap();
    assert_eq!(app.api.revocations.stored().await.unwrap(), 1202);
    let events = app.db().read(|c| audit_events::table.count().get_result::<i64>(c));
    // A key, an account, two new sessions, 1,202 ended ones.
    assert_eq!(events.await.unwrap(), 4 + 1202 + 200);

    app.advance(200 * 86_400);
    while app.api.revocations.purge(app.clock.now()).await.unwrap() {}
    while app.api.sessions.purge(app.clock.now()).await.unwrap() {}
    while app.api.audit.purge(app.clock.now()).await.unwrap() {}
    let left = app.db().read(|c| {
        let sessions = sessions::table.count().get_result::<i64>(c)?;
        // Keys are maintained meanwhile.
        let events = audit_events::table.filter(audit_events::event.not_like("key_%"));
        Ok((sessions, events.count().get_result::<i64>(c)?))
    });
    assert_eq!(left.await.unwrap(), (0, 0));
    assert_eq!(app.api.revocations.stored().await.unwrap(), 0);
}

/// A retry completes the request, and the client continues. When the database then executes the
/// original request, too, it looks like a reuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_was_refused_while_the_database_was_frozen_ends_nothing_when_it_thaws() {
    let freezer = Freezer::start().await;
    let (app, other) = (&freezer.app, &freezer.other);
    let refresh = app.signed_up().await.tokens.refresh;
    let again = freezer
        .refuse(app.refresh_with_key(&refresh, "the-key-of-the-request"), async || {
            let next = other.refresh_with_key(&refresh, "the-key-of-the-request").await.tokens();
            other.refresh_with_key(&next.refresh, "the-key-of-the-next-one").await.tokens()
        })
        .await;
    let last = other.refresh_with_key(&again.refresh, "the-key-of-the-last-one").await.tokens();
    assert_eq!(last.generation, 3);
    other.me(&last.access).await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_rejected_during_a_freeze_are_not_executed_afterwards() {
    let freezer = Freezer::start().await;
    let user = freezer.app.signed_up().await;
    let leave = freezer.app.post("/logout").bearer(&user.tokens.access).send();
    freezer.refuse(leave, async || ()).await;
    assert_eq!(freezer.other.live_sessions(&user.id).await, [user.tokens.session.as_str()]);
    freezer.other.me(&user.tokens.access).await.assert_status(200);
}

/// Two nodes, of which one has a single connection for its requests, through a proxy.
struct Freezer {
    proxy: Proxy,
    direct: String,
    app: TestApp,
    other: TestApp,
}

impl Freezer {
    async fn start() -> Self {
        let cluster = Cluster::shared();
        let (proxy, direct) = (Proxy::to(cluster.port), cluster.database());
        let one_connection = |config: &mut Config| {
            strict(config);
            config.database.pool_size = 1;
        };
        let app = TestApp::on_database(proxy.url(&direct), one_connection).await;
        let unfrozen =
            |config: &mut Config| config.database_url = Some(Secret::new(direct.clone()));
        let other = app.another_node_with(unfrozen).await;
        Self { proxy, direct, app, other }
    }

    /// Lets the node reject a request because the database does not respond, and unfreezes it after
    /// `meanwhile`.
    async fn refuse<T>(
        &self,
        request: impl Future<Output = Answer>,
        meanwhile: impl AsyncFnOnce() -> T,
    ) -> T {
        let connection = self.app.db().read(backend).await.unwrap();
        assert!(is_connected(&self.direct, connection));
        self.proxy.set(Network::Frozen);
        let refused = request.await.assert_problem(503, "unavailable");
        assert_eq!(refused.body["transient"], true);
        let outcome = meanwhile().await;
        self.proxy.set(Network::Up);
        // It was abandoned, and is closed when its unit has returned.
        until(async || !is_connected(&self.direct, connection)).await;
        outcome
    }
}

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    pid: i32,
}

/// The server process of this connection.
fn backend(connection: &mut AnyConnection) -> QueryResult<i32> {
    let AnyConnection::Postgres(connection) = connection else { panic!("it is PostgreSQL's") };
    let found = diesel::sql_query("SELECT pg_backend_pid() AS pid").get_result(connection);
    found.map(|Backend { pid }| pid)
}

fn is_connected(url: &str, backend: i32) -> bool {
    let mut connection = PgConnection::establish(url).unwrap();
    let all: Vec<Backend> =
        diesel::sql_query("SELECT pid FROM pg_stat_activity").load(&mut connection).unwrap();
    all.iter().any(|it| it.pid == backend)
}
