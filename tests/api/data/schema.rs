//! `db migrate` and `db check`.

use std::fs;
use std::path::Path;

use diesel::connection::SimpleConnection as _;

use crate::support::binary::{Doorward, data_of, doorward, run, unlimited};
use crate::support::data::{connect, db, migrated, number, outcome, url_of};
use crate::support::postgres::on_postgres;

use super::tables;

const FIRST: &str = "2026-11-24-000000_core";

#[test]
fn migrate_creates_the_schema_that_a_start_without_migrations_requires() {
    let home = tempfile::tempdir().unwrap();
    let off = ("DOORWARD_DATABASE__MIGRATE", "false");
    let refusal = run(doorward(home.path()).env(off.0, off.1));
    assert_eq!(refusal.status.code(), Some(1));
    let problem = if on_postgres() { FIRST } else { "does not exist" };
    assert!(refusal.stderr.contains(problem), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("`doorward db migrate`"), "{}", refusal.stderr);

    let migrate = |variable: (&str, &str)| {
        outcome(doorward(home.path()).env(variable.0, variable.1).args(["db", "migrate"]))
    };
    let (status, said, _) = migrate(off);
    assert_eq!(status, 0);
    assert!(said.starts_with(&format!("applied {FIRST}\n")), "{said}");
    let (status, said, _) = migrate(off);
    assert_eq!((status, said.as_str()), (0, "Nothing to do: the schema is up to date.\n"));
    let service = Doorward::start(unlimited(home.path()).env(off.0, off.1));
    assert!(service.stop().0.success());
}

#[test]
fn migrate_on_a_fresh_machine_prepares_a_start() {
    let home = migrated();
    let service = Doorward::start(&mut unlimited(home.path()));
    assert!(service.stop().0.success());
}

#[test]
fn check_reports_pending_migrations_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    if !on_postgres() {
        let (status, _, complaint) = db(home.path(), &["check"]);
        assert_eq!(status, 1);
        assert!(complaint.contains("does not exist"), "{complaint}");
        assert!(!data_of(home.path()).exists());
        fs::create_dir(data_of(home.path())).unwrap();
        fs::write(data_of(home.path()).join("doorward.db"), "").unwrap();
    }
    for _ in 0..2 {
        let (status, said, complaint) = db(home.path(), &["check"]);
        assert_eq!(status, 1);
        assert!(said.contains(&format!("pending: migration {FIRST}")), "{said}");
        assert!(!said.contains("drift"), "{said}");
        assert!(complaint.contains("has problems"), "{complaint}");
    }
    let mut c = connect(&url_of(home.path()));
    assert_eq!(number(&mut c, tables()), 0);
}

#[test]
fn check_reports_nothing_for_a_healthy_database() {
    let home = migrated();
    assert_healthy(home.path());
    // Nor of one in use.
    let service = Doorward::start(&mut unlimited(home.path()));
    assert_healthy(home.path());
    assert!(service.stop().0.success());
}

#[test]
fn check_reports_a_schema_of_a_newer_version() {
    let home = migrated();
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')";
    connect(&url_of(home.path())).batch_execute(newer).unwrap();
    let (status, said, _) = db(home.path(), &["check"]);
    assert_eq!(status, 1);
    assert!(said.contains("unknown: migration 29990101000000"), "{said}");
}

#[test]
fn check_names_each_drift() {
    let both = [
        (
            "ALTER TABLE users ADD COLUMN nickname TEXT",
            "column nickname of users is not part of Doorward's schema",
        ),
        ("DROP INDEX sessions_ends_at", "index sessions_ends_at of sessions is missing"),
        (
            "DROP INDEX sessions_ends_at; CREATE INDEX sessions_ends_at ON sessions (expires_at)",
            "index sessions_ends_at of sessions is `CREATE INDEX",
        ),
        (
            "CREATE INDEX mine ON users (email)",
            "index mine of users is not part of Doorward's schema",
        ),
        ("CREATE TABLE notes (text TEXT)", "table notes is not part of Doorward's schema"),
        (
            "CREATE VIEW names AS SELECT email FROM users",
            "table names is not part of Doorward's schema",
        ),
        ("DROP TABLE blocklist", "table blocklist is missing"),
        ("ALTER TABLE sessions DROP COLUMN label", "column label of sessions is missing: "),
    ];
    let sqlite = [
        (
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema \
             SET sql = replace(sql, 'alg TEXT', 'alg BLOB') WHERE name = 'signing_keys'",
            "column alg of signing_keys is `BLOB NOT NULL`, and should be `TEXT NOT NULL`",
        ),
        (
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema \
             SET sql = replace(sql, '''active''', '''in use''') WHERE name = 'signing_keys'",
            "table signing_keys is `CREATE TABLE",
        ),
    ];
    let postgres = [
        (
            "ALTER TABLE users ALTER COLUMN email TYPE varchar(80)",
            "column email of users is `character varying(80) NOT NULL`, and should be `text NOT NULL`",
        ),
        (
            "ALTER TABLE users ALTER COLUMN email DROP NOT NULL",
            "column email of users is `text`, and should be `text NOT NULL`",
        ),
        (
            "ALTER TABLE signing_keys DROP CONSTRAINT signing_keys_state_check",
            "constraint signing_keys_state_check of signing_keys is missing: ",
        ),
    ];
    let own = if on_postgres() { postgres.to_vec() } else { sqlite.to_vec() };
    for (plant, expected) in both.into_iter().chain(own) {
        let home = migrated();
        connect(&url_of(home.path())).batch_execute(plant).unwrap();
        let (status, said, _) = db(home.path(), &["check"]);
        assert_eq!(status, 1, "{plant}");
        assert!(said.starts_with(&format!("drift: {expected}")), "{plant}: {said}");
        assert_eq!(said.lines().count(), 1, "{plant}: {said}");
    }
}

fn assert_healthy(home: &Path) {
    let (status, said, complaint) = db(home, &["check"]);
    assert_eq!((status, complaint.as_str()), (0, ""), "{said}");
    assert!(said.starts_with("The schema is up to date"), "{said}");
}
