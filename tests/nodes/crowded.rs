//! Nodes behind a pooler in session mode with fewer connections than they want.

use std::time::Duration;

use crate::refused::{Pooler, is_ready};
use crate::support::binary::{
    Doorward, PATIENT, SLOWLY, database_of, doorward, printed, run, unlimited,
};
use crate::support::client::PASSWORD;
use crate::support::program::find;
use crate::support::{until, until_within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_fewer_connections_than_its_pool_receives_revocations_and_serves() {
    let Some([pgbouncer]) = find(["pgbouncer"], "pgbouncer") else { return };
    let home = tempfile::tempdir().unwrap();
    printed(doorward(home.path()).args(["db", "migrate"]));
    // The first node uses 11, and leaves five, three of which the second node uses outside its
    // pool.
    let pooler = Pooler::start(&pgbouncer, "session\ndefault_pool_size = 16").await;
    let url = pooler.through(&database_of(home.path()).unwrap());
    let start = || {
        let mut command = unlimited(home.path());
        command.env("DOORWARD_DATABASE_URL", &url).envs([PATIENT, SLOWLY]);
        Doorward::start(&mut command)
    };
    let one = start();
    until(async || is_ready(&one).await).await;
    let other = start();
    until_within(Duration::from_secs(20), async || is_ready(&other).await).await;
    other.register("ada@example.com", PASSWORD).await.unwrap().assert_status(201);
    let tokens = other.log_in("ada@example.com", PASSWORD).await.unwrap().tokens();
    other.me(&tokens.access).await.unwrap().assert_status(200);
    one.log_out(&tokens.access).await.unwrap().assert_status(204);
    until(async || other.me(&tokens.access).await.unwrap().status == 401).await;
    assert!(is_ready(&other).await);
    for service in [one, other] {
        assert!(service.stop().0.success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_too_few_connections_to_start_reports_once_which_limit_to_raise() {
    let Some([pgbouncer]) = find(["pgbouncer"], "pgbouncer") else { return };
    let home = tempfile::tempdir().unwrap();
    printed(doorward(home.path()).args(["db", "migrate"]));
    // Two connections are left for the second node.
    let pooler = Pooler::start(&pgbouncer, "session\ndefault_pool_size = 13").await;
    let url = pooler.through(&database_of(home.path()).unwrap());
    let command = || {
        let mut command = unlimited(home.path());
        command.env("DOORWARD_DATABASE_URL", &url).envs([PATIENT, SLOWLY]);
        command
    };
    let one = Doorward::start(&mut command());
    until(async || is_ready(&one).await).await;
    let refusal = run(&mut command());
    assert_eq!(refusal.status.code(), Some(1), "{}", refusal.stderr);
    let lines: Vec<_> = refusal.stderr.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 1, "{}", refusal.stderr);
    for word in ["gets no answer", "connections_wanted=11", "default_pool_size", "max_connections"]
    {
        assert!(lines[0].contains(word), "{word}: {}", lines[0]);
    }
    assert!(is_ready(&one).await);
    assert!(one.stop().0.success());
}
