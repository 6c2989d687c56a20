//! Refused connections: the limit of a role, and poolers that mix up prepared statements.

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;

use crate::support::binary::{
    Doorward, PATIENT, SLOWLY, database_of, doorward, printed, run, unlimited,
};
use crate::support::client::PASSWORD;
use crate::support::postgres::Cluster;
use crate::support::program::{Program, find, free_port};
use crate::support::{until, until_within};
use doorward::clock::Clock;

/// A migrated database, and in the environment of a command a role other than its owner's.
fn on_role(home: &Path, role: &str, limit: &str) -> (String, impl Fn(Command) -> Command) {
    printed(doorward(home).args(["db", "migrate"]));
    let url = database_of(home).unwrap();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let make = format!(
        "CREATE ROLE {role} LOGIN {limit};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};"
    );
    Cluster::shared().query(&database, &make);
    let url = url.replace("//doorward@", &format!("//{role}@"));
    let command = move |mut command: Command| {
        command.env("DOORWARD_DATABASE_URL", &url).env("DOORWARD_DATABASE__MIGRATE", "false");
        command.envs([PATIENT, SLOWLY]);
        command
    };
    (database, command)
}

pub async fn is_ready(service: &Doorward) -> bool {
    service.get("/readyz").send().await.status == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_limit_below_the_pool_makes_the_pool_smaller_and_says_so_once() {
    let home = tempfile::tempdir().unwrap();
    let (_, on_role) = on_role(home.path(), "few", "CONNECTION LIMIT 6");
    let (service, said) = Doorward::start_and_said(&mut on_role(unlimited(home.path())));
    let lines = said.lines().filter(|line| line.contains("CONNECTION LIMIT"));
    assert_eq!(lines.count(), 1, "{said}");
    assert!(said.contains("connection_limit=6 pool_size=3"), "{said}");
    until(async || is_ready(&service).await).await;
    service.register("ada@example.com", PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in("ada@example.com", PASSWORD).await.unwrap().tokens();
    let listed = (0..30).map(|_| service.get("/sessions").bearer(&tokens.access).send());
    for answer in join_all(listed).await {
        answer.assert_status(200);
    }
    let found = on_role(doorward(home.path())).args(["doctor"]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(!found.contains("no connection"), "{found}");
    let (status, _, log) = service.stop();
    assert!(status.success() && !log.contains("ERROR"), "{log}");

    let found = on_role(doorward(home.path())).args(["doctor"]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("may open 6 connections (CONNECTION LIMIT)"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_connection_left_is_named_once_and_retried_with_growing_pauses() {
    let home = tempfile::tempdir().unwrap();
    let (database, on_role) = on_role(home.path(), "spent", "");
    let service = Doorward::start(&mut on_role(unlimited(home.path())));
    until(async || is_ready(&service).await).await;
    let cluster = Cluster::shared();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'spent'";
    cluster.query(&database, &format!("ALTER ROLE spent CONNECTION LIMIT 0; {end}"));
    // A command names the reason, too.
    let refusal = run(on_role(doorward(home.path())).args(["user", "list"]));
    assert_eq!(refusal.status.code(), Some(1));
    for word in ["postgres://127.0.0.1", "too many connections", "CONNECTION LIMIT"] {
        assert!(refusal.stderr.contains(word), "{}", refusal.stderr);
    }
    assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
    let clock = Clock::system();
    let began = clock.monotonic();
    tokio::time::sleep(Duration::from_secs(8)).await;
    cluster.query(&database, "ALTER ROLE spent CONNECTION LIMIT -1");
    until_within(Duration::from_secs(40), async || is_ready(&service).await).await;
    service.register("ada@example.com", PASSWORD).await.unwrap().assert_status(201);
    let seconds = (clock.monotonic() - began).as_secs();
    let (status, _, log) = service.stop();
    assert!(status.success(), "{log}");
    let lines = log.lines().filter(|line| line.contains("too many connections")).count();
    println!("{lines} lines in {seconds} s:\n{log}");
    assert!((1..=3).contains(&lines), "{lines} lines in {seconds} s: {log}");
}

/// A PgBouncer in front of the tests' server. It ends when this is dropped.
pub struct Pooler {
    port: u16,
    _program: Program,
    _home: tempfile::TempDir,
}

impl Pooler {
    pub async fn start(pgbouncer: &Path, mode: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        // It drops root's privileges, because it refuses to run with them.
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let (port, server) = (free_port(), Cluster::shared().port);
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {users}\npool_mode = {mode}\n{user}",
            users = home.path().join("users.txt").display(),
            user = if is_root { "user = postgres\n" } else { "" },
        );
        fs::write(home.path().join("users.txt"), "\"doorward\" \"\"\n").unwrap();
        fs::write(home.path().join("pgbouncer.ini"), settings).unwrap();
        let program = Program::start(pgbouncer, &["pgbouncer.ini"], home.path());
        until(async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        Self { port, _program: program, _home: home }
    }

    /// The same URL through the pooler.
    pub fn through(&self, url: &str) -> String {
        let server = format!(":{}/", Cluster::shared().port);
        url.replace(&server, &format!(":{}/", self.port))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_mixes_up_prepared_statements_is_named_and_refused() {
    let Some([pgbouncer]) = find(["pgbouncer"], "pgbouncer") else { return };
    let home = tempfile::tempdir().unwrap();
    printed(doorward(home.path()).args(["db", "migrate"]));
    let pooler = Pooler::start(&pgbouncer, "transaction").await;
    let url = pooler.through(&database_of(home.path()).unwrap());
    let through = || {
        let mut command = doorward(home.path());
        command.env("DOORWARD_DATABASE_URL", &url).envs([PATIENT, SLOWLY]);
        command
    };
    for arguments in [&["serve"][..], &["user", "list"], &["client", "list"], &["key", "list"]] {
        let refusal = run(through().args(arguments));
        assert_eq!(refusal.status.code(), Some(1), "{arguments:?}");
        for word in ["prepared statement", "PgBouncer", "pool_mode = session", "postgres://"] {
            assert!(refusal.stderr.contains(word), "{arguments:?}: {}", refusal.stderr);
        }
        assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
    }
    let found = through().args(["doctor"]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("PgBouncer"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_session_mode_serves() {
    let Some([pgbouncer]) = find(["pgbouncer"], "pgbouncer") else { return };
    let home = tempfile::tempdir().unwrap();
    printed(doorward(home.path()).args(["db", "migrate"]));
    let pooler = Pooler::start(&pgbouncer, "session").await;
    let mut command = unlimited(home.path());
    command.env("DOORWARD_DATABASE_URL", pooler.through(&database_of(home.path()).unwrap()));
    let service = Doorward::start(&mut command);
    until(async || is_ready(&service).await).await;
    service.register("ada@example.com", PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in("ada@example.com", PASSWORD).await.unwrap().tokens();
    service.me(&tokens.access).await.unwrap().assert_status(200);
    service.log_out(&tokens.access).await.unwrap().assert_status(204);
    service.me(&tokens.access).await.unwrap().assert_problem(401, "token_revoked");
    let (status, _, log) = service.stop();
    assert!(status.success() && !log.contains("ERROR"), "{log}");
}
