//! `docs/operations.md` and `docs/deployment.md` on SQLite. `tests/nodes/deployment.rs` runs the
//! lines for PostgreSQL.

use std::fs;

use serde_json::Value;

use crate::support::client::PASSWORD;
use crate::support::docs;
use crate::support::shell::Shell;

const EMAIL: &str = "ada@example.com";
const KEY: &str = "0123456789abcdef";

/// The issuer does not change with the port.
const START: &str = "export DOORWARD_PUBLIC_URL=http://login.example.com\ndoorward";

#[tokio::test]
async fn a_backup_is_restored() {
    let mut shell = Shell::new();
    let service = shell.start(START);
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let before = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let lines = docs::block("docs/operations.md", "umask 077\n");
    let lines: Vec<&str> = lines.lines().filter(|line| !line.starts_with("pg_dump")).collect();
    shell.run(&lines.join("\n"));
    let later = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    assert!(service.stop().0.success());

    shell.run(&docs::block("docs/operations.md", "cp doorward-backup.db"));
    shell.run(&docs::block("docs/operations.md", "doorward db after-restore"));
    let service = shell.start(START);
    service.refresh(&before.refresh, KEY).await.unwrap().assert_ended("backup_restored");
    service.refresh(&later.refresh, KEY).await.unwrap().assert_ended("unknown_token");
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
}

#[tokio::test]
async fn a_changed_secret_ends_no_session_and_a_revoked_key_signs_no_more() {
    let mut shell = Shell::new();
    let service = shell.start(START);
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let old_kid = crate::support::keys::kid_of(&tokens.access);
    assert!(service.stop().0.success());

    let change = docs::block("docs/operations.md", "(umask 077; doorward secret new > new-secret)");
    let service = shell.start(&change.replace("\ndoorward\n", &format!("\n{START}")));
    service.me(&tokens.access).await.unwrap().assert_status(200);
    let tokens = service.refresh(&tokens.refresh, KEY).await.unwrap().tokens();
    let exports = change.lines().find(|line| line.starts_with("export")).unwrap();
    shell.run(&format!("{exports}\ndoorward key revoke {old_kid}"));
    crate::support::until(async || service.me(&tokens.access).await.unwrap().status == 401).await;
    assert!(service.stop().0.success());

    // Without the previous secret, and without the file that it came from.
    fs::remove_file(shell.home.path().join("doorward-data/secret")).unwrap();
    let service = shell.start(&format!("export DOORWARD_SECRET_FILE=$PWD/new-secret\n{START}"));
    service.refresh(&tokens.refresh, KEY).await.unwrap().assert_status(200);
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
}

#[test]
fn the_schema_is_checked_and_migrated_and_the_doctor_reports() {
    let mut shell = Shell::new();
    assert!(shell.start(START).stop().0.success());
    shell.run(&docs::block("docs/deployment.md", "doorward db check"));
    let doctor = docs::block("docs/deployment.md", "doorward doctor");
    // It finds what is wrong with this machine, too.
    let said = shell.run(&format!("{} 2>&1 || true", doctor.trim_end()));
    assert!(said.contains("doorward-data"), "{said}");
}

#[tokio::test]
async fn the_admin_api_is_called_by_a_service_with_a_scope() {
    let mut shell = Shell::new();
    let settings = "export DOORWARD_ADMIN__ENABLED=true DOORWARD_ADMIN__ON_MAIN_PORT=true";
    let service = shell.start(&format!("{settings}\ndoorward"));
    let add = docs::block("docs/operations.md", "SUPPORT=$(doorward client add");
    let lines = docs::block("docs/operations.md", "URL=http://127.0.0.1:8080\nADMIN=");
    // The admin port is the same for all tests.
    let lines = lines.replace("http://127.0.0.1:9465", "http://127.0.0.1:8080");
    let said = shell.run(&format!("{add}{lines}"));
    let [invited, changed, status] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("three answers: {said}");
    };
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert!(read(invited)["invited_until"].is_string(), "{invited}");
    assert_eq!((&read(changed)["roles"][0], status), (&"editor".into(), "202"));
    assert!(service.stop().0.success());
}
