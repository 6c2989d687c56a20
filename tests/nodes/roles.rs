//! Roles and databases of a strict administrator.

use std::process::Command;

use crate::support::binary::{Doorward, PATIENT, SLOWLY, database_of, doorward, printed, run};
use crate::support::postgres::Cluster;

/// A migrated database, and `doorward` with a role that may only read and write rows.
fn as_role(name: &str, temporary: bool) -> (tempfile::TempDir, impl Fn() -> Command) {
    let home = tempfile::tempdir().unwrap();
    printed(doorward(home.path()).args(["db", "migrate"]));
    let url = database_of(home.path()).unwrap();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let cluster = Cluster::shared();
    cluster.query(
        &database,
        &format!(
            "CREATE ROLE {name} LOGIN;
             REVOKE CREATE ON SCHEMA public FROM PUBLIC;
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name};"
        ),
    );
    if !temporary {
        let revoke = format!("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC");
        cluster.query(&database, &revoke);
    }
    let url = url.replace("//doorward@", &format!("//{name}@"));
    let folder = home.path().to_owned();
    let command = move || {
        let mut command = doorward(&folder);
        command.env("DOORWARD_DATABASE_URL", &url).env("DOORWARD_DATABASE__MIGRATE", "false");
        command.env_remove("DOORWARD_DATA_DIR").envs([PATIENT, SLOWLY]);
        command
    };
    (home, command)
}

#[actix_web::test]
async fn a_role_that_may_create_nothing_serves_and_is_checked() {
    let (home, command) = as_role("dml_only", true);
    let service = Doorward::start(&mut command());
    let answer = service.register("ada@example.com", "correct horse battery staple").await.unwrap();
    assert_eq!(answer.status, 201);
    let listed = printed(command().args(["user", "list"]));
    assert!(listed.contains("ada@example.com"), "{listed}");
    let checked = printed(command().args(["db", "check"]));
    assert!(checked.starts_with("The schema is up to date"), "{checked}");
    let found = command().args(["doctor", "--json"]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(!found.contains("\"database\"") && !found.contains("\"keys\""), "{found}");
    assert!(service.stop().0.success());
    // The database is elsewhere, and so is the secret.
    assert!(!home.path().join("doorward-data").exists() && !home.path().join("data").exists());
}

#[test]
fn drift_is_found_by_a_role_that_may_create_nothing() {
    let (home, command) = as_role("dml_drift", true);
    let url = database_of(home.path()).unwrap();
    let database = url.rsplit('/').next().unwrap();
    Cluster::shared().query(database, "ALTER TABLE users ADD COLUMN more text");
    let output = command().args(["db", "check"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said, "drift: column more of users is not part of Doorward's schema\n");
}

#[test]
fn a_role_without_temporary_tables_gets_a_remedy() {
    let (_home, command) = as_role("dml_no_temporary", false);
    let output = command().args(["db", "check"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("GRANT TEMPORARY ON DATABASE"), "{said}");
    assert!(Doorward::start(&mut command()).stop().0.success());
}

#[test]
fn a_database_that_is_not_utf_8_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let cluster = Cluster::shared();
    cluster.query(
        "postgres",
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    let url = cluster.url("latin");
    let on_it = |arguments: &[&str]| {
        let mut command = doorward(home.path());
        command.env("DOORWARD_DATABASE_URL", &url).args(arguments);
        command
    };
    for arguments in [&["serve"][..], &["db", "migrate"], &["db", "check"], &["user", "list"]] {
        let refusal = run(&mut on_it(arguments));
        assert_eq!(refusal.status.code(), Some(1));
        let says = "has the encoding LATIN1";
        assert!(refusal.stderr.contains(says), "{arguments:?}: {}", refusal.stderr);
        assert!(refusal.stderr.contains("ENCODING 'UTF8'"), "{arguments:?}: {}", refusal.stderr);
    }
    let found = on_it(&["doctor"]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("database: the database postgres://127.0.0.1"), "{found}");
    assert!(found.contains("has the encoding LATIN1"), "{found}");
}

#[test]
fn a_command_makes_no_tables_in_an_empty_database() {
    let home = tempfile::tempdir().unwrap();
    let url = database_of(home.path()).unwrap();
    for arguments in [&["user", "list"][..], &["client", "list"], &["db", "after-restore", "--yes"]]
    {
        let refusal = run(doorward(home.path()).args(arguments));
        assert_eq!(refusal.status.code(), Some(1));
        assert!(refusal.stderr.contains("is empty"), "{arguments:?}: {}", refusal.stderr);
    }
    let database = url.rsplit('/').next().unwrap();
    Cluster::shared().query(database, "CREATE TABLE users (id int); CREATE TABLE clients (id int)");
}
