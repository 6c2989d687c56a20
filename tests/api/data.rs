//! `doorward db`, through the real binary: the schema, copies between two databases of one kind,
//! and a backup that was restored. Copies between kinds are in `tests/nodes/copy.rs`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use diesel::connection::SimpleConnection as _;
use doorward::secret::MasterSecret;

use crate::support::binary::{Doorward, data_of, doorward, run, unlimited};
use crate::support::client::PASSWORD;
use crate::support::data::{
    EMAIL, MANY, assert_empty, connect, copy, db, fill, kill_copy, migrated, number, outcome,
    url_of, used,
};
use crate::support::postgres::{Cluster, on_postgres};

const KEY: &str = "a-key-of-sixteen-letters";
const FIRST: &str = "2026-11-24-000000_core";

#[test]
fn migrate_makes_the_schema_that_a_start_without_migrations_asks_for() {
    let home = tempfile::tempdir().unwrap();
    let off = ("DOORWARD_DATABASE__MIGRATE", "false");
    let refusal = run(doorward(home.path()).env(off.0, off.1));
    assert_eq!(refusal.status.code(), Some(1));
    let problem = if on_postgres() { FIRST } else { "there is no database at" };
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
        assert!(complaint.contains("there is no database at"), "{complaint}");
        assert!(!data_of(home.path()).exists());
        fs::create_dir(data_of(home.path())).unwrap();
        fs::write(data_of(home.path()).join("doorward.db"), "").unwrap();
    }
    for _ in 0..2 {
        let (status, said, complaint) = db(home.path(), &["check"]);
        assert_eq!(status, 1);
        assert!(said.contains(&format!("pending: migration {FIRST}")), "{said}");
        assert!(!said.contains("drift"), "{said}");
        assert!(complaint.contains("not as it should be"), "{complaint}");
    }
    let mut c = connect(&url_of(home.path()));
    assert_eq!(number(&mut c, tables()), 0);
}

#[test]
fn check_says_nothing_of_a_healthy_database() {
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
            "column nickname of users is not Doorward's",
        ),
        ("DROP INDEX sessions_ends_at", "index sessions_ends_at of sessions is missing"),
        (
            "DROP INDEX sessions_ends_at; CREATE INDEX sessions_ends_at ON sessions (expires_at)",
            "index sessions_ends_at of sessions is `CREATE INDEX",
        ),
        ("CREATE INDEX mine ON users (email)", "index mine of users is not Doorward's"),
        ("CREATE TABLE notes (text TEXT)", "table notes is not Doorward's"),
        ("CREATE VIEW names AS SELECT email FROM users", "table names is not Doorward's"),
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

#[tokio::test]
async fn sessions_go_on_in_a_copy_of_the_same_kind() {
    let home = tempfile::tempdir().unwrap();
    let ada = used(home.path()).await;
    let other = second(home.path());
    let (status, said, complaint) = copy(home.path(), &url_of(home.path()), &other, &[]);
    assert_eq!(status, 0, "{complaint}");
    assert!(said.contains("DOORWARD_SECRET_FILE"), "{said}");
    assert!(complaint.contains("copy users: 1 rows"), "a line a table: {complaint}");

    let service = Doorward::start(unlimited(home.path()).env("DOORWARD_DATABASE_URL", &other));
    service.me(&ada.access).await.unwrap().assert_status(200);
    service.refresh(&ada.refresh, KEY).await.unwrap().assert_status(200);
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
}

#[tokio::test]
async fn a_target_with_rows_is_refused_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let ada = used(home.path()).await;
    let other = tempfile::tempdir().unwrap();
    let bob = used(other.path()).await;
    let (from, to) = (url_of(home.path()), url_of(other.path()));
    let (status, _, complaint) = copy(home.path(), &from, &to, &[]);
    assert_eq!(status, 1);
    assert!(complaint.contains("not empty: its table users has rows"), "{complaint}");
    for (home, stays, stranger) in [(&home, &ada, &bob), (&other, &bob, &ada)] {
        let service = Doorward::start(&mut unlimited(home.path()));
        service.me(&stays.access).await.unwrap().assert_status(200);
        service.refresh(&stays.refresh, KEY).await.unwrap().assert_status(200);
        assert_ne!(stays.session, stranger.session);
        service.me(&stranger.access).await.unwrap().assert_status(401);
    }

    // Rows of an older schema are rows, too, and it stays an older one.
    let old = second(home.path());
    let mut c = connect(&old);
    c.batch_execute("CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('eve')").unwrap();
    if let Some(file) = old.strip_prefix("sqlite://") {
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    }
    let (status, _, complaint) = copy(home.path(), &from, &old, &[]);
    assert_eq!(status, 1);
    assert!(complaint.contains("not empty: its table users has rows"), "{complaint}");
    assert_eq!(number(&mut c, tables()), 1);
}

#[tokio::test]
async fn a_database_is_not_copied_into_itself() {
    let home = tempfile::tempdir().unwrap();
    used(home.path()).await;
    let url = url_of(home.path());
    let alias = if on_postgres() {
        url.replace("127.0.0.1", "localhost")
    } else {
        let link = home.path().join("link.db");
        std::os::unix::fs::symlink(data_of(home.path()).join("doorward.db"), &link).unwrap();
        format!("sqlite://{}", link.display())
    };
    for (from, to) in [(&url, &url), (&url, &alias), (&alias, &url)] {
        for options in [&[][..], &["--verify"]] {
            let (status, _, complaint) = copy(home.path(), from, to, options);
            assert_eq!(status, 1);
            assert!(complaint.contains("the same database"), "{complaint}");
        }
    }
}

#[tokio::test]
async fn verify_finds_every_planted_difference() {
    let home = tempfile::tempdir().unwrap();
    used(home.path()).await;
    let (from, to) = (url_of(home.path()), second(home.path()));
    let verify = || copy(home.path(), &from, &to, &["--verify"]);
    let (status, _, complaint) = verify();
    assert_eq!(status, 1, "there is nothing to compare with: {complaint}");
    assert_eq!(copy(home.path(), &from, &to, &[]).0, 0);
    let (status, said, _) = verify();
    assert_eq!(status, 0, "{said}");
    for (plant, table) in [
        ("UPDATE users SET email = 'Ada@example.com'", "users"),
        ("UPDATE sessions SET label = ''", "sessions"),
        ("DELETE FROM signing_keys", "signing_keys"),
    ] {
        connect(&to).batch_execute(plant).unwrap();
        let (status, said, _) = verify();
        assert_eq!(status, 1, "{plant}");
        let line = said.lines().find(|line| line.starts_with(table)).unwrap();
        assert!(line.ends_with("DIFFERENT"), "{plant}: {said}");
    }
    let (_, said, _) = verify();
    assert_eq!(said.matches("DIFFERENT").count(), 3, "{said}");
    assert!(said.lines().any(|line| line.starts_with("blocklist") && line.ends_with("equal")));
}

#[test]
fn a_killed_copy_leaves_the_target_empty_and_can_be_repeated() {
    let home = migrated();
    let (from, to) = (url_of(home.path()), second(home.path()));
    fill(&from);
    for moment in ["copy users", "copy sessions", "add up sessions in target"] {
        kill_copy(home.path(), &from, &to, moment);
        assert_empty(&to);
    }
    let (status, said, complaint) = copy(home.path(), &from, &to, &[]);
    assert_eq!(status, 0, "{said} {complaint}");
    assert_eq!(
        number(&mut connect(&to), "SELECT count(*) AS value FROM sessions"),
        i64::from(MANY)
    );
}

#[tokio::test]
async fn nothing_from_before_a_restored_backup_works_after_it() {
    let home = tempfile::tempdir().unwrap();
    let ada = used(home.path()).await;
    let backup = second(home.path());
    assert_eq!(copy(home.path(), &url_of(home.path()), &backup, &[]).0, 0);

    // What the backup will not know: a logout, and a session.
    let service = Doorward::start(&mut unlimited(home.path()));
    service.log_out(&ada.access).await.unwrap().assert_status(204);
    let later = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    assert!(service.stop().0.success());

    let restored = |options: &[&str]| {
        let mut command = doorward(home.path());
        command.env("DOORWARD_DATABASE_URL", &backup).args(["db", "after-restore"]).args(options);
        outcome(&mut command)
    };
    let (status, _, complaint) = restored(&[]);
    assert_eq!(status, 1);
    assert!(complaint.contains("--yes"), "{complaint}");
    let (status, said, complaint) = restored(&["--yes"]);
    assert_eq!(status, 0, "{complaint}");
    assert!(said.starts_with("Sessions ended: 1. Signing keys removed: 1.\n"), "{said}");
    assert!(said.contains("accounts, passwords"), "{said}");
    let (status, said, _) = restored(&["--yes"]);
    assert_eq!(status, 0);
    assert!(said.starts_with("Sessions ended: 0. Signing keys removed: 0.\n"), "{said}");

    let service = Doorward::start(unlimited(home.path()).env("DOORWARD_DATABASE_URL", &backup));
    for tokens in [&ada, &later] {
        service.me(&tokens.access).await.unwrap().assert_problem(401, "invalid_token");
    }
    service.refresh(&ada.refresh, KEY).await.unwrap().assert_ended("backup_restored");
    service.refresh(&later.refresh, KEY).await.unwrap().assert_ended("unknown_token");
    let fresh = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    service.me(&fresh.access).await.unwrap().assert_status(200);
    service.refresh(&fresh.refresh, KEY).await.unwrap().assert_status(200);
}

#[tokio::test]
async fn a_database_with_a_lost_secret_starts_with_a_new_one_after_restored() {
    let home = tempfile::tempdir().unwrap();
    used(home.path()).await;
    let secret = MasterSecret::generate().to_text();
    let refusal = run(doorward(home.path()).env("DOORWARD_SECRET", secret.as_str()));
    assert!(refusal.stderr.contains("does not open the signing keys"), "{}", refusal.stderr);
    let (status, _, complaint) = db(home.path(), &["after-restore", "--yes"]);
    assert_eq!(status, 0, "{complaint}");
    let service = Doorward::start(unlimited(home.path()).env("DOORWARD_SECRET", secret.as_str()));
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
}

#[test]
fn every_command_has_an_example() {
    let home = tempfile::tempdir().unwrap();
    for command in ["migrate", "check", "copy", "backup", "after-restore"] {
        let (status, said, _) = db(home.path(), &[command, "--help"]);
        assert_eq!(status, 0);
        assert!(said.contains(&format!("Example: doorward db {command}")), "{said}");
    }
    let (status, _, complaint) = copy(home.path(), "mysql://x", &second(home.path()), &[]);
    assert_eq!(status, 2);
    assert!(complaint.contains("--from") && complaint.contains("sqlite://"), "{complaint}");
}

fn assert_healthy(home: &Path) {
    let (status, said, complaint) = db(home, &["check"]);
    assert_eq!((status, complaint.as_str()), (0, ""), "{said}");
    assert!(said.starts_with("The schema is as it should be"), "{said}");
}

/// Another database of the same kind, in which nothing is.
fn second(home: &Path) -> String {
    if on_postgres() {
        Cluster::shared().empty_database()
    } else {
        format!("sqlite://{}", home.join("second.db").display())
    }
}

/// How many tables there are.
fn tables() -> &'static str {
    if on_postgres() {
        "SELECT count(*) AS value FROM pg_tables WHERE schemaname = 'public'"
    } else {
        "SELECT count(*) AS value FROM sqlite_schema WHERE type = 'table'"
    }
}
