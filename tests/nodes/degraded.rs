//! A server that is reachable and rejects writes.

use diesel::prelude::*;

use crate::support::binary::{Doorward, unlimited};
use crate::support::client::PASSWORD;
use crate::support::postgres::Cluster;
use crate::support::{Answer, until};

const EMAIL: &str = "ada@example.com";

async fn status(service: &Doorward) -> String {
    let answer = service.get("/readyz").send().await;
    format!("{} {}", answer.status, answer.body["status"].as_str().unwrap_or_default())
}

#[track_caller]
fn assert_transient(answer: Answer) {
    let answer = answer.assert_problem(503, "unavailable");
    assert_eq!(answer.body["transient"], true, "{}", answer.text);
}

/// Until `mend` is called, the service only reads and reports itself as degraded; then it writes
/// again.
async fn reads_while_writes_are_refused(
    url: &str,
    break_it: impl FnOnce(&mut PgConnection),
    mend: impl FnOnce(&mut PgConnection),
) {
    let home = tempfile::tempdir().unwrap();
    let mut command = unlimited(home.path());
    command.env("DOORWARD_DATABASE_URL", url);
    let service = Doorward::start(&mut command);
    until(async || status(&service).await == "200 ready").await;
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();

    let mut administrator = PgConnection::establish(url).unwrap();
    break_it(&mut administrator);
    let is_refused = async || service.log_in(EMAIL, PASSWORD).await.unwrap().status == 503;
    until(is_refused).await;
    // More writes than there are connections: each connection has seen a rejection.
    for _ in 0..20 {
        assert_transient(service.log_in(EMAIL, PASSWORD).await.unwrap());
        assert_transient(service.log_out(&tokens.access).await.unwrap());
        let listed = service.get("/sessions").bearer(&tokens.access).send().await;
        listed.assert_status(200);
        assert_eq!(status(&service).await, "200 degraded");
    }
    service.me(&tokens.access).await.unwrap().assert_status(200);

    mend(&mut administrator);
    until(async || status(&service).await == "200 ready").await;
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
    service.log_out(&tokens.access).await.unwrap().assert_status(204);
    service.me(&tokens.access).await.unwrap().assert_problem(401, "token_revoked");
    let (status, _, log) = service.stop();
    assert!(status.success(), "{log}");
    assert!(log.contains("accepts writes again"), "{log}");
}

fn run(connection: &mut PgConnection, statements: &[&str]) {
    for statement in statements {
        diesel::sql_query(*statement).execute(connection).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_set_read_only_is_read_until_it_accepts_writes_again() {
    let cluster = Cluster::start(&["fsync=off"]);
    let reload = "SELECT pg_reload_conf()";
    let set = "ALTER SYSTEM SET default_transaction_read_only = on";
    let reset = "ALTER SYSTEM RESET default_transaction_read_only";
    reads_while_writes_are_refused(
        &cluster.empty_database(),
        |administrator| run(administrator, &[set, reload]),
        |administrator| run(administrator, &[reset, reload]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_table_that_rejects_rows_is_read_until_it_accepts_them() {
    // As with a full tablespace: each writing statement fails, and no other.
    let full = "CREATE FUNCTION fills_up() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE disk_full USING MESSAGE = 'could not extend file'; END $$";
    let tables = ["users", "sessions", "blocklist", "signing_keys", "audit_events"];
    let on = tables.map(|table| {
        format!(
            "CREATE TRIGGER fills_up BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION fills_up()"
        )
    });
    let off = tables.map(|table| format!("DROP TRIGGER fills_up ON {table}"));
    let on: Vec<&str> = [full].into_iter().chain(on.iter().map(String::as_str)).collect();
    let off: Vec<&str> = off.iter().map(String::as_str).collect();
    reads_while_writes_are_refused(
        &Cluster::shared().empty_database(),
        |administrator| run(administrator, &on),
        |administrator| run(administrator, &off),
    )
    .await;
}
