//! `doorward user …`, as whoever runs the service calls it while the service runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use diesel::prelude::*;
use doorward::clock::Clock;
use doorward::database::schema::{sessions, users};
use doorward_verifier::VerifyError;
use serde_json::Value;

use crate::support::binary::{printed, run};
use crate::support::client::PASSWORD;
use crate::support::feed::{HEARD, verifier};
use crate::support::{TestApp, User, id, until};

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
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (directory, path)
}

#[tokio::test]
async fn a_disabled_account_is_rejected_on_every_node_and_can_be_enabled() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_account_is_rejected_on_every_node_and_at_a_verifier_within_the_delay() {
    // The verifier finds the node by its issuer.
    let app = TestApp::with(|config| config.public_url = String::new()).await;
    app.clock.advance(Clock::system().now().since(app.clock.now()));
    let issuer = app.api.issuer.clone();
    let node = app.another_node_with(|config| config.public_url = issuer).await;
    let verifier = verifier(&app).await;
    let (ada, other) = (node.signed_up().await, node.signed_up().await);
    for user in [&ada, &other] {
        assert!(verifier.verify(&user.tokens.access).is_ok());
        app.me(&user.tokens.access).await.assert_status(200);
        node.me(&user.tokens.access).await.assert_status(200);
    }

    done(&app, &["disable", &ada.email]);
    let clock = Clock::system();
    let disabled = clock.monotonic();
    let token = &ada.tokens.access;
    tokio::join!(
        refuses(&app, token),
        refuses(&node, token),
        until(async || verifier.verify(token) == Err(VerifyError::Revoked)),
    );
    let took = clock.monotonic() - disabled;
    println!("disabled: refused on two nodes and at a verifier after {took:.1?}");
    assert!(took < HEARD, "{took:?}");
    assert!(verifier.verify(&other.tokens.access).is_ok());
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
    let user =
        ["add", "list", "show", "disable", "enable", "end-sessions", "set-password", "delete"];
    for (group, commands) in [("user", &user[..]), ("session", &["list", "end"])] {
        for command in commands {
            let help = printed(&mut app.command(&[group, command, "--help"]));
            assert!(help.contains(&format!("doorward {group} {command} ")), "{help}");
        }
    }
}

#[tokio::test]
async fn an_account_is_added_and_logs_in() {
    let app = start().await;
    let (_directory, file) = password_file(NEW_PASSWORD);
    let add = |email: &str| user(&app, &["add", email, "--password-file", &file]);
    let added = done(&app, &["add", "Ada@example.com", "--password-file", &file]);
    assert_eq!(added["email"], "Ada@example.com");
    app.log_in("ada@example.com", NEW_PASSWORD).await.assert_status(200);
    let said = printed(&mut add("bob@example.com"));
    assert!(said.starts_with("added bob@example.com, "), "{said}");
    for (email, says) in [
        ("ADA@example.com", "there is an account"),
        ("nobody", "nothing was added"),
        ("", "nothing was added"),
    ] {
        let refusal = run(&mut add(email));
        assert_eq!(refusal.status.code(), Some(1));
        assert!(refusal.stderr.contains(says), "{}", refusal.stderr);
    }
    for (arguments, says) in [
        (&["add", "eve@example.com"][..], "name a file with --password-file"),
        (&["add", "eve@example.com", "--password-file", "nowhere"], "it cannot be read"),
    ] {
        let refusal = run(&mut user(&app, arguments));
        assert_eq!(refusal.status.code(), Some(1));
        assert!(refusal.stderr.contains(says), "{}", refusal.stderr);
    }
    fs::write(&file, "short").unwrap();
    let refusal = run(&mut user(&app, &["add", "eve@example.com", "--password-file", &file]));
    assert!(refusal.stderr.contains("characters"), "{}", refusal.stderr);
    assert_eq!(done(&app, &["list"]).as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_deleted_account_is_rejected_on_every_node_and_leaves_no_row() {
    let app = start().await;
    let node = app.another_node().await;
    let ada = app.signed_up().await;
    let ended = ada.another_session().await;
    app.post("/logout").bearer(&ended.access).send().await.assert_status(204);
    let other = app.signed_up().await;
    node.me(&ada.tokens.access).await.assert_status(200);

    let refusal = run(&mut user(&app, &["delete", &ada.email]));
    assert_eq!(refusal.status.code(), Some(1));
    assert!(refusal.stderr.contains("give --yes"), "{}", refusal.stderr);
    ada.me().await.assert_status(200);

    let deleted = done(&app, &["delete", &ada.email, "--yes"]);
    assert_eq!((&deleted["changed"], &deleted["sessions_ended"]), (&true.into(), &1.into()));
    for node in [&app, &node] {
        refuses(node, &ada.tokens.access).await;
        node.refresh(&ada.tokens.refresh).await.assert_ended("unknown_token");
        node.log_in(&ada.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    }
    other.me().await.assert_status(200);
    assert_eq!(rows_of(&app, &ada.id).await, [0, 0]);
    let text = printed(&mut app.command(&["audit", "--user", &ada.id]));
    assert!(text.contains("  account_deleted  ") && !text.contains("from 127.0.0.1"), "{text}");
    let again = run(&mut user(&app, &["delete", &ada.id, "--yes"]));
    assert_eq!(again.status.code(), Some(1));
    // The address is free.
    app.register(&ada.email, PASSWORD).await.assert_status(201);
}

#[tokio::test]
async fn the_remains_of_a_closed_account_can_be_deleted() {
    let app = start().await;
    let ada = app.signed_up().await;
    ada.close(PASSWORD).await.assert_status(204);
    assert_eq!(rows_of(&app, &ada.id).await, [1, 1]);
    let said = printed(&mut user(&app, &["delete", &ada.id, "--yes"]));
    assert_eq!(said, format!("deleted {}; sessions that ended: 0\n", ada.id));
    assert_eq!(rows_of(&app, &ada.id).await, [0, 0]);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one() {
    let app = start().await;
    let node = app.another_node().await;
    let ada = app.signed_up().await;
    let body = serde_json::json!({ "email": ada.email, "password": PASSWORD, "label": "phone" });
    let phone = app.post("/login").json(&body).send().await.tokens();
    let session = |arguments: &[&str]| printed(app.command(&["session"]).args(arguments));
    let listed = || -> Vec<Value> {
        serde_json::from_str(&session(&["list", "--user", &ada.email, "--json"])).unwrap()
    };
    assert_eq!(listed().len(), 2);
    let one = listed().into_iter().find(|it| it["label"] == "phone").unwrap();
    assert_eq!(
        (&one["id"], &one["address"]),
        (&phone.session.as_str().into(), &"127.0.0.1".into())
    );
    let text = session(&["list", "--user", &ada.id]);
    assert!(
        text.lines().any(|it| it.starts_with(&phone.session) && it.contains("phone")),
        "{text}"
    );

    assert_eq!(session(&["end", &phone.session]), format!("ended {}\n", phone.session));
    for node in [&app, &node] {
        refuses(node, &phone.access).await;
        node.refresh(&phone.refresh).await.assert_ended("ended_by_user");
        node.me(&ada.tokens.access).await.assert_status(200);
    }
    assert_eq!(listed().len(), 1);
    for id in [phone.session.as_str(), &ada.id, "x"] {
        let refusal = run(&mut app.command(&["session", "end", id, "--json"]));
        assert_eq!(refusal.status.code(), Some(1));
        assert!(refusal.stderr.contains("no live session"), "{}", refusal.stderr);
    }
    let ended: Value =
        serde_json::from_str(&session(&["end", &ada.tokens.session, "--json"])).unwrap();
    assert_eq!(ended["changed"], true);
    let refusal = run(&mut app.command(&["session", "list", "--user", "nobody@example.com"]));
    assert_eq!(refusal.status.code(), Some(1));
}

/// The rows of an account, and those of its sessions.
async fn rows_of(app: &TestApp, user: &str) -> [i64; 2] {
    let user = id(user);
    let counts = app.db().read(move |c| {
        Ok([
            users::table.filter(users::id.eq(user)).count().get_result(c)?,
            sessions::table.filter(sessions::user_id.eq(user)).count().get_result(c)?,
        ])
    });
    counts.await.unwrap()
}
