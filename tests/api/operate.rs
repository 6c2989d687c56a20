//! `doorward user …`, as whoever runs the service calls it while the service runs.

use std::fs;
use std::process::{Command, Stdio};

use doorward::clock::Clock;
use serde_json::Value;

use crate::support::binary::{printed, run};
use crate::support::client::PASSWORD;
use crate::support::{TestApp, User, until};

const NEW_PASSWORD: &str = " nine badgers polish trombones ";

/// A service whose clock is not behind the command line's.
async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.clock.advance(Clock::system().now().since(app.clock.now()));
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

/// The node has heard of it, and refuses the token.
async fn refuses(node: &TestApp, token: &str) {
    until(async || node.me(token).await.status == 401).await;
    node.me(token).await.assert_problem(401, "token_revoked");
}

/// A file for --password-file, in a directory that goes with it.
fn password_file(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (directory, path)
}

#[tokio::test]
async fn who_is_disabled_is_refused_on_every_node_and_may_come_back() {
    let app = start().await;
    let node = app.another_node().await;
    let ada = app.signed_up().await;
    let second = ada.another_session().await;
    let other = app.signed_up().await;
    node.me(&ada.tokens.access).await.assert_status(200);

    let disabled = done(&app, &["disable", &ada.email.to_uppercase()]);
    assert_eq!((&disabled["id"], &disabled["changed"]), (&ada.id.as_str().into(), &true.into()));
    assert_eq!(disabled["sessions_ended"], 2);
    for node in [&app, &node] {
        for token in [&ada.tokens.access, &second.access] {
            refuses(node, token).await;
        }
        node.refresh(&second.refresh).await.assert_ended("account_disabled");
        node.log_in(&ada.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    }
    other.me().await.assert_status(200);
    let again = printed(&mut user(&app, &["disable", &ada.id]));
    assert_eq!(again, format!("{}: it was disabled already\n", ada.email));
    assert!(printed(&mut user(&app, &["list"])).contains(&format!("{}  disabled\n", ada.email)));

    assert_eq!(done(&app, &["enable", &ada.id])["changed"], true);
    node.log_in(&ada.email, PASSWORD).await.assert_status(200);
    app.refresh(&second.refresh).await.assert_ended("account_disabled");
    assert!(printed(&mut user(&app, &["enable", &ada.id])).contains("it was not disabled"));
}

#[tokio::test]
async fn sessions_end_and_the_account_goes_on() {
    let app = start().await;
    let ada = app.signed_up().await;
    let ended = printed(&mut user(&app, &["end-sessions", &ada.email]));
    assert_eq!(ended, format!("logged out {}; sessions that ended: 1\n", ada.email));
    refuses(&app, &ada.tokens.access).await;
    assert_eq!(done(&app, &["end-sessions", &ada.email])["sessions_ended"], 0);
    app.log_in(&ada.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn another_password_is_read_from_a_file_and_ends_every_session() {
    let app = start().await;
    let ada = app.signed_up().await;
    let (_directory, file) = password_file(&format!("{NEW_PASSWORD}\nand a second line\n"));
    let set = done(&app, &["set-password", &ada.email, "--password-file", &file]);
    assert_eq!((&set["changed"], &set["sessions_ended"]), (&true.into(), &1.into()));
    refuses(&app, &ada.tokens.access).await;
    app.refresh(&ada.tokens.refresh).await.assert_ended("password_changed");
    app.log_in(&ada.email, PASSWORD).await.assert_status(401);
    app.log_in(&ada.email, NEW_PASSWORD).await.assert_status(200);

    // From standard input.
    fs::write(&file, PASSWORD).unwrap();
    let mut command = user(&app, &["set-password", &ada.id, "--password-file", "-"]);
    printed(command.stdin(Stdio::from(fs::File::open(&file).unwrap())));
    app.log_in(&ada.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_password_that_cannot_be_one_changes_nothing() {
    let app = start().await;
    let ada = app.signed_up().await;
    let refused = |arguments: &[&str]| {
        let refusal = run(user(&app, &["set-password", &ada.email]).args(arguments));
        assert_eq!(refusal.status.code(), Some(1), "{}", refusal.stderr);
        assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
        refusal.stderr
    };
    for (text, says) in [
        ("short", "characters"),
        ("", "characters"),
        (&ada.email.repeat(3), "e-mail address"),
        (&"x".repeat(2000), "bytes"),
    ] {
        let (_directory, file) = password_file(text);
        let line = refused(&["--password-file", &file]);
        assert!(line.contains(says) && line.contains("Nothing was changed"), "{text}: {line}");
    }
    assert!(refused(&["--password-file", "nowhere"]).contains("nowhere: it cannot be read"));
    assert!(refused(&[]).contains("name a file with --password-file"));
    ada.me().await.assert_status(200);
    app.log_in(&ada.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn accounts_are_listed_and_shown() {
    let app = start().await;
    let mut people: Vec<User<'_>> = Vec::new();
    for _ in 0..3 {
        people.push(app.signed_up().await);
    }
    let ids = |listed: &Value| -> Vec<String> {
        let id = |person: &Value| person["id"].as_str().unwrap().to_owned();
        listed.as_array().unwrap().iter().map(id).collect()
    };
    let mut all: Vec<String> = people.iter().map(|person| person.id.clone()).collect();
    all.sort();
    assert_eq!(ids(&done(&app, &["list"])), all);
    assert_eq!(ids(&done(&app, &["list", "--limit", "2"])), all[..2]);
    assert_eq!(ids(&done(&app, &["list", "--after", &all[1]])), all[2..]);
    let ada = &people[0];
    let shown = done(&app, &["show", &ada.email]);
    assert_eq!((&shown["id"], &shown["live_sessions"]), (&ada.id.as_str().into(), &1.into()));
    assert_eq!(shown["disabled_at"], Value::Null);
    let text = printed(&mut user(&app, &["show", &ada.id]));
    assert!(text.contains(&format!("email: {}\n", ada.email)), "{text}");
    assert!(text.contains("disabled: no\nlive sessions: 1\n"), "{text}");
    assert!(!text.contains("argon2"), "{text}");
    // Who has left is nobody.
    app.post("/me/close")
        .bearer(&ada.tokens.access)
        .json(&serde_json::json!({ "password": PASSWORD }))
        .send()
        .await
        .assert_status(204);
    assert_eq!(done(&app, &["list"]).as_array().unwrap().len(), 2);
    for name in [ada.id.as_str(), &ada.email, "nobody@example.com", "", "' OR 1=1 --"] {
        let refusal = run(&mut user(&app, &["disable", name]));
        assert_eq!(refusal.status.code(), Some(1));
        assert!(refusal.stderr.contains("`doorward user list` shows those"), "{}", refusal.stderr);
    }
}

#[tokio::test]
async fn every_command_shows_an_example() {
    let app = start().await;
    for command in ["list", "show", "disable", "enable", "end-sessions", "set-password"] {
        let help = printed(&mut user(&app, &[command, "--help"]));
        assert!(help.contains(&format!("doorward user {command} ")), "{help}");
    }
}
