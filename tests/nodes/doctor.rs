//! `doorward doctor` with a PostgreSQL server.

use serde_json::Value;

use crate::support::binary::{PATIENT, database_of, doorward, printed};
use crate::support::postgres::Cluster;

#[test]
fn doctor_finds_settings_of_the_server_that_lose_data_or_turn_nodes_away() {
    let home = tempfile::tempdir().unwrap();
    assert!(doorward(home.path()).args(["db", "migrate"]).status().unwrap().success());
    let found = |options: &[&str]| {
        let mut command = doorward(home.path());
        command.env(PATIENT.0, PATIENT.1).args(["doctor", "--json"]);
        let output = command.args(options).output().unwrap();
        let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(!found.is_empty())));
        let lines = found.iter().map(|it| format!("{}: {}", it["check"], it["problem"]));
        lines.collect::<Vec<_>>()
    };
    // The tests' own server is fast, but not durable.
    let [fsync, pages] = &found(&[])[..] else { panic!("{:?}", found(&[])) };
    assert!(fsync.contains("postgresql") && fsync.contains("fsync is off"), "{fsync}");
    assert!(pages.contains("postgresql") && pages.contains("full_page_writes is off"), "{pages}");
    let many = found(&["--nodes", "1000"]);
    assert!(many[2].contains("1000 nodes may open 11000"), "{many:?}");

    let url = database_of(home.path()).unwrap();
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let off = format!("ALTER DATABASE \"{name}\" SET synchronous_commit = off");
    Cluster::shared().query("postgres", &off);
    let found = found(&[]);
    assert!(found[2].contains("synchronous_commit is off"), "{found:?}");
}

#[test]
fn doctor_accepts_a_durable_server() {
    let home = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&[]);
    let database = cluster.empty_database();
    let on_it = || {
        let mut command = doorward(home.path());
        command.env("DOORWARD_DATABASE_URL", &database).env(PATIENT.0, PATIENT.1);
        command
    };
    printed(on_it().args(["db", "migrate"]));
    assert_eq!(printed(on_it().args(["doctor", "--nodes", "4"])), "No problems found.\n");
}
