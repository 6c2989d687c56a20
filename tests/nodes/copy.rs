//! A service moved from SQLite to PostgreSQL and back, and the parts of `doorward db` that only
//! PostgreSQL has.

use std::fs;
use std::path::Path;
use std::process::Command;

use diesel::connection::SimpleConnection as _;

use crate::support::binary::{Doorward, data_of, database_of, unlimited};
use crate::support::client::PASSWORD;
use crate::support::data::{
    assert_empty, connect, copy, db, fill, kill_copy, log_in_and_stop, migrated, number, outcome,
};
use crate::support::postgres::Cluster;
use crate::support::{docs, until};

const KEY: &str = "a-key-of-sixteen-letters";

#[tokio::test]
async fn the_documented_lines_move_a_service_to_postgresql() {
    let home = tempfile::tempdir().unwrap();
    let ada = log_in_and_stop(Doorward::start(&mut on_sqlite(home.path()))).await;

    let lines = docs::block("docs/operations.md", "doorward db copy");
    let binary = env!("CARGO_BIN_EXE_doorward");
    let script = lines
        .replace("postgres://doorward@db.example.com/doorward", &Cluster::shared().empty_database())
        .replace("doorward-data/", "data/")
        .replace("doorward db copy", &format!("{binary} db copy"));
    let script = script.trim_end().strip_suffix("\ndoorward").expect("it ends with a start");
    let mut shell = Command::new("bash");
    let plain = unlimited(home.path());
    let kept = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let kept =
        kept.filter(|(name, _)| *name != "DOORWARD_DATABASE_URL" && *name != "DOORWARD_SECRET");
    shell.env_clear().envs(kept).current_dir(home.path());
    let service = Doorward::start(shell.args(["-ec", &format!("{script}\nexec {binary}")]));

    service.me(&ada.access).await.unwrap().assert_status(200);
    service.refresh(&ada.refresh, KEY).await.unwrap().assert_status(200);
    service.log_in("ada@example.com", PASSWORD).await.unwrap().assert_status(200);
}

#[tokio::test]
async fn sessions_continue_after_a_move_to_sqlite() {
    let home = tempfile::tempdir().unwrap();
    let ada = log_in_and_stop(Doorward::start(&mut unlimited(home.path()))).await;
    let from = database_of(home.path()).unwrap();
    // A service on PostgreSQL creates no directory for a database.
    fs::create_dir(data_of(home.path())).unwrap();
    let (status, said, complaint) = copy(home.path(), &from, &sqlite(home.path()), &[]);
    assert_eq!(status, 0, "{said} {complaint}");
    let (status, said, _) = copy(home.path(), &sqlite(home.path()), &from, &["--verify"]);
    assert_eq!(status, 0, "{said}");

    let mut moved = unlimited(home.path());
    let service = Doorward::start(moved.env("DOORWARD_DATABASE_URL", sqlite(home.path())));
    service.me(&ada.access).await.unwrap().assert_status(200);
    service.refresh(&ada.refresh, KEY).await.unwrap().assert_status(200);
    service.log_in("ada@example.com", PASSWORD).await.unwrap().assert_status(200);
}

#[test]
fn a_killed_move_leaves_postgresql_empty_and_can_be_repeated() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(outcome(on_sqlite(home.path()).args(["db", "migrate"])).0, 0);
    let (from, to) = (sqlite(home.path()), Cluster::shared().empty_database());
    fill(&from);
    for moment in ["copy users", "copy sessions", "checksum sessions in target"] {
        kill_copy(home.path(), &from, &to, moment);
        assert_empty(&to);
    }
    let (status, said, complaint) = copy(home.path(), &from, &to, &[]);
    assert_eq!(status, 0, "{said} {complaint}");
    // And back, to another order of text keys.
    let back = format!("sqlite://{}", home.path().join("back.db").display());
    assert_eq!(copy(home.path(), &to, &back, &[]).0, 0);
    let (status, said, _) = copy(home.path(), &from, &back, &["--verify"]);
    assert_eq!(status, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_takes_no_writes_while_it_is_copied() {
    let on_postgres = tempfile::tempdir().unwrap();
    let on_file = tempfile::tempdir().unwrap();
    let sources = [
        (unlimited(on_postgres.path()), database_of(on_postgres.path())),
        (on_sqlite(on_file.path()), Some(sqlite(on_file.path()))),
    ];
    for (mut command, from) in sources {
        let service = Doorward::start(&mut command);
        service.register("ada@example.com", PASSWORD).await.unwrap().assert_status(201);
        // A target in which the copy blocks once it has locked the source.
        let to = Cluster::shared().database();
        let mut blocker = connect(&to);
        blocker.batch_execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE").unwrap();
        let (home, from, target) = (on_file.path().to_owned(), from.unwrap(), to.clone());
        let copying = std::thread::spawn(move || copy(&home, &from, &target, &[]));
        let mut observer = connect(&to);
        until(async || number(&mut observer, WAITING) > 0).await;
        let refused = service.log_in("ada@example.com", PASSWORD).await.unwrap();
        assert_eq!(refused.assert_status(503).body["transient"], true);
        blocker.batch_execute("ROLLBACK").unwrap();
        let (status, said, complaint) = copying.join().unwrap();
        assert_eq!(status, 0, "{said} {complaint}");
        service.log_in("ada@example.com", PASSWORD).await.unwrap().assert_status(200);
    }
}

#[test]
fn a_backup_of_postgresql_is_left_to_its_own_tool() {
    let home = migrated();
    let (status, _, complaint) = db(home.path(), &["backup", "backup.db"]);
    assert_eq!(status, 1);
    assert!(complaint.contains("pg_dump --format=custom"), "{complaint}");
    assert!(!home.path().join("backup.db").exists());
}

/// Whether a transaction waits for a lock in this database.
const WAITING: &str = "SELECT count(*) AS value FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";

fn sqlite(home: &Path) -> String {
    format!("sqlite://{}", data_of(home).join("doorward.db").display())
}

/// A service on SQLite, with a secret of its own.
fn on_sqlite(home: &Path) -> Command {
    let mut command = unlimited(home);
    command.env("DOORWARD_DATABASE_URL", sqlite(home)).env_remove("DOORWARD_SECRET");
    command
}
