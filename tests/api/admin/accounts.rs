//! Accounts that are listed, added and deleted.

use std::fs;

use diesel::prelude::*;
use doorward::database::schema::{sessions, users};
use serde_json::Value;

use crate::support::binary::{printed, run};
use crate::support::client::PASSWORD;
use crate::support::{TestApp, User, id};

use super::{NEW_PASSWORD, done, password_file, refuses, start, user};

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
    assert!(text.contains("disabled: no\nsecond factors: none\nlive sessions: 1\n"), "{text}");
    assert!(!text.contains("argon2"), "{text}");
    // A closed account is not found.
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
        assert!(
            refusal.stderr.contains("`doorward user list` shows the existing ones"),
            "{}",
            refusal.stderr
        );
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
        ("nobody", "nothing was done"),
        ("", "nothing was done"),
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
    assert!(refusal.stderr.contains("Pass --yes"), "{}", refusal.stderr);
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
