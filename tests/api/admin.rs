//! `doorward user …`, as operators use it while the service runs.

mod accounts;
mod disable;
mod password;
mod role_races;
mod roles;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::support::binary::printed;
use crate::support::{TestApp, until};

const NEW_PASSWORD: &str = " nine badgers polish trombones ";

/// A service whose clock is not behind the command line's.
async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.catch_up();
    app
}

fn user(app: &TestApp, arguments: &[&str]) -> Command {
    let mut command = app.command(&["user"]);
    command.args(arguments);
    command
}

fn done(app: &TestApp, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(user(app, arguments).arg("--json"))).unwrap()
}

/// The node has learnt of it, and rejects the token.
async fn refuses(node: &TestApp, token: &str) {
    until(async || node.me(token).await.status == 401).await;
    node.me(token).await.assert_problem(401, "token_revoked");
}

/// A file for --password-file, in a temporary directory.
fn password_file(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (directory, path)
}

#[tokio::test]
async fn every_command_shows_an_example() {
    let app = start().await;
    let user = [
        "add",
        "list",
        "show",
        "disable",
        "enable",
        "end-sessions",
        "set-email",
        "set-password",
        "delete",
        "invite",
        "mail-reset",
        "mark-verified",
    ];
    for (group, commands) in [
        ("user", &user[..]),
        ("user roles", &["set", "add", "remove"]),
        ("user claims", &["set", "clear"]),
        ("session", &["list", "end"]),
    ] {
        for command in commands {
            let mut words: Vec<&str> = group.split(' ').collect();
            words.extend([*command, "--help"]);
            let help = printed(&mut app.command(&words));
            assert!(help.contains(&format!("doorward {group} {command} ")), "{help}");
        }
    }
}
