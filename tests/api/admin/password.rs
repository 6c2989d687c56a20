//! Sessions that end, and passwords that an administrator sets.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::support::binary::{printed, run};
use crate::support::client::PASSWORD;

use super::{NEW_PASSWORD, done, password_file, refuses, start, user};

#[tokio::test]
async fn sessions_end_and_the_account_stays() {
    let app = start().await;
    let ada = app.signed_up().await;
    let ended = printed(&mut user(&app, &["end-sessions", &ada.email]));
    assert_eq!(ended, format!("logged out {}; sessions that ended: 1\n", ada.email));
    refuses(&app, &ada.tokens.access).await;
    assert_eq!(done(&app, &["end-sessions", &ada.email])["sessions_ended"], 0);
    app.log_in(&ada.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn set_password_reads_a_file_and_ends_every_session() {
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
async fn an_invalid_password_changes_nothing() {
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
        node.refresh(&phone.refresh).await.assert_ended("ended_by_operator");
        node.me(&ada.tokens.access).await.assert_status(200);
    }
    assert_eq!(listed().len(), 1);
    for id in [phone.session.as_str(), &ada.id, "x"] {
        let refusal = run(&mut app.command(&["session", "end", id, "--json"]));
        assert_eq!(refusal.status.code(), Some(1));
        assert!(refusal.stderr.contains("does not exist"), "{}", refusal.stderr);
    }
    let ended: Value =
        serde_json::from_str(&session(&["end", &ada.tokens.session, "--json"])).unwrap();
    assert_eq!(ended["changed"], true);
    let refusal = run(&mut app.command(&["session", "list", "--user", "nobody@example.com"]));
    assert_eq!(refusal.status.code(), Some(1));
}
