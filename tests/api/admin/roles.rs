//! Roles and custom claims that are granted and taken away.

use diesel::prelude::*;
use doorward::audit::EventKind;
use doorward::database::schema::users;
use doorward_verifier::VerifyError;
use serde_json::{Value, json};

use crate::audit::stored;
use crate::support::binary::{printed, run};
use crate::support::feed::verifier;
use crate::support::{TestApp, claims, id, until};

use super::{NEW_PASSWORD, done, password_file, refuses, start, user};

/// The long claim of a token that has outgrown the limit.
const LONG: usize = 1200;

#[tokio::test]
async fn a_granted_role_is_in_the_next_token_and_ends_no_session() {
    let app = start().await;
    let mut ada = app.signed_up().await;
    let added = done(&app, &["roles", "add", &ada.email, "editor", "auditor"]);
    assert_eq!((&added["changed"], &added["sessions_ended"]), (&true.into(), &0.into()));
    ada.me().await.assert_status(200);
    assert!(claims(&ada.tokens.access).get("roles").is_none());
    ada.refresh().await.assert_status(200);
    assert_eq!(claims(&ada.tokens.access)["roles"], json!(["auditor", "editor"]));
    assert_eq!(ada.me().await.body["roles"], json!(["auditor", "editor"]));
    let verified = app.get("/verify").bearer(&ada.tokens.access).send().await;
    assert_eq!(verified.header("x-auth-roles"), Some("auditor editor"));

    let again = printed(&mut user(&app, &["roles", "add", &ada.email, "editor"]));
    assert!(again.contains("the same already"), "{again}");
    let details = stored(&app, EventKind::RolesChanged).await;
    assert_eq!(details.len(), 1);
    assert_eq!(details[0].detail.as_deref(), Some("added auditor editor"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_was_taken_away_is_gone_at_every_node_and_verifier() {
    // The verifier finds the node by its issuer.
    let app = TestApp::with(|config| config.public_url = String::new()).await;
    app.catch_up();
    let issuer = app.api.issuer.clone();
    let node = app.another_node_with(|config| config.public_url = issuer).await;
    let verifier = verifier(&app).await;
    let mut ada = app.signed_up().await;
    let other = app.signed_up().await;
    done(&app, &["roles", "set", &ada.email, "admin", "editor"]);
    ada.refresh().await.assert_status(200);
    let token = &ada.tokens.access;
    assert_eq!(verifier.verify(token).unwrap().roles, ["admin", "editor"]);

    let removed = done(&app, &["roles", "remove", &ada.email, "admin"]);
    assert_eq!((&removed["changed"], &removed["sessions_ended"]), (&true.into(), &1.into()));
    for node in [&app, &node] {
        refuses(node, token).await;
        node.get("/verify").bearer(token).send().await.assert_status(401);
        node.refresh(&ada.tokens.refresh).await.assert_ended("roles_changed");
    }
    until(async || verifier.verify(token) == Err(VerifyError::Revoked)).await;
    other.me().await.assert_status(200);
    let tokens = ada.another_session().await;
    assert_eq!(claims(&tokens.access)["roles"], json!(["editor"]));
    let ended = stored(&app, EventKind::SessionEnded).await;
    assert_eq!(ended[0].detail.as_deref(), Some("roles_changed"));
    // Without a role, `set` takes all of them.
    assert_eq!(done(&app, &["roles", "set", &ada.email])["sessions_ended"], 1);
    refuses(&app, &tokens.access).await;
}

#[tokio::test]
async fn sessions_can_be_kept_until_their_next_refresh() {
    let app = start().await;
    let mut ada = app.signed_up().await;
    done(&app, &["roles", "set", &ada.email, "editor"]);
    ada.refresh().await.assert_status(200);
    let remove = ["roles", "remove", &ada.email, "editor", "--keep-sessions"];
    let said = printed(&mut user(&app, &remove));
    assert!(said.contains("its sessions continue") && said.contains("10 min"), "{said}");
    ada.me().await.assert_status(200);
    ada.refresh().await.assert_status(200);
    assert!(claims(&ada.tokens.access).get("roles").is_none());
}

#[tokio::test]
async fn custom_claims_are_in_the_token_as_ext_and_a_changed_one_ends_sessions() {
    let app = start().await;
    let mut ada = app.signed_up().await;
    let set = |text: &str| done(&app, &["claims", "set", &ada.email, text]);
    assert_eq!(set(r#"{"plan":"pro","seats":5}"#)["sessions_ended"], 0);
    let shown = done(&app, &["show", &ada.email]);
    assert_eq!(shown["claims"], json!({ "plan": "pro", "seats": 5 }));
    let changed = stored(&app, EventKind::ClaimsChanged).await;
    assert_eq!(changed[0].detail.as_deref(), Some("added plan seats"));

    ada.refresh().await.assert_status(200);
    let token = ada.tokens.access.clone();
    assert_eq!(claims(&token)["ext"], json!({ "plan": "pro", "seats": 5 }));
    let service = app.service(&[]).await;
    let introspected = app.introspect(&service, &token).await.assert_status(200);
    assert_eq!(introspected.body["ext"]["plan"], "pro");
    let changed = done(&app, &["claims", "set", &ada.email, r#"{"plan":"free","seats":5}"#]);
    assert_eq!(changed["sessions_ended"], 1);
    refuses(&app, &token).await;
    app.refresh(&ada.tokens.refresh).await.assert_ended("roles_changed");
    let tokens = ada.another_session().await;
    assert_eq!(claims(&tokens.access)["ext"]["plan"], "free");
    assert_eq!(done(&app, &["claims", "clear", &ada.email])["sessions_ended"], 1);
    assert!(claims(&ada.another_session().await.access).get("ext").is_none());
}

#[tokio::test]
async fn an_account_is_added_with_its_roles() {
    let app = start().await;
    let (_directory, file) = password_file(NEW_PASSWORD);
    let add = ["add", "ada@example.com", "--password-file", &file, "--role", "b", "--role", "a"];
    assert_eq!(done(&app, &add)["roles"], json!(["a", "b"]));
    let tokens = app.log_in("ada@example.com", NEW_PASSWORD).await.tokens();
    assert_eq!(claims(&tokens.access)["roles"], json!(["a", "b"]));
}

#[tokio::test]
async fn roles_and_claims_that_cannot_be_set_change_nothing() {
    let app = start().await;
    let ada = app.signed_up().await;
    let long: Vec<String> = (0..32).map(|n| format!("{:0>40}", format!("role{n}"))).collect();
    let long: Vec<&str> =
        ["roles", "set", &ada.email].into_iter().chain(long.iter().map(String::as_str)).collect();
    let claim = json!({ "text": "x".repeat(1000) }).to_string();
    for (arguments, says) in [
        (&["roles", "add", &ada.email, "Admin"][..], "`Admin` is not a valid role"),
        (&long, "tokens.max_bytes is 1024"),
        (&["claims", "set", &ada.email, &claim], "tokens.max_bytes is 1024"),
        (&["claims", "set", &ada.email, "[1]"], "one JSON object"),
        (
            &["roles", "add", "nobody@example.com", "a"],
            "the account `nobody@example.com` does not exist",
        ),
    ] {
        let refusal = run(&mut user(&app, arguments));
        assert_eq!(refusal.status.code(), Some(1));
        assert!(refusal.stderr.contains(says), "{}", refusal.stderr);
        assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
    }
    let shown = done(&app, &["show", &ada.email]);
    assert_eq!((&shown["roles"], &shown["claims"]), (&json!([]), &json!({})));
    ada.me().await.assert_status(200);
}

#[tokio::test]
async fn a_token_that_has_outgrown_the_limit_is_issued_and_counted() {
    let app = start().await;
    let ada = app.signed_up().await;
    let user = id(&ada.id);
    let text = json!({ "text": "x".repeat(LONG) }).to_string();
    let stored = app.db().write(move |tx| {
        diesel::update(users::table.find(user))
            .set((users::claims.eq(&text), users::roles.eq("admin editor")))
            .execute(tx.connection())
    });
    stored.await.unwrap();
    assert_eq!(app.api.sessions.oversized_tokens(), 0);
    let tokens = ada.another_session().await;
    assert!(tokens.access.len() > LONG);
    app.me(&tokens.access).await.assert_status(200);
    assert_eq!(app.api.sessions.oversized_tokens(), 1);
    let found = app.command(&["doctor", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let problem = found.to_string();
    assert!(
        problem.contains(&format!("the tokens of 1 accounts are longer, the first is {}", ada.id))
    );
    // A role can be taken away, although the token remains too long.
    let removed = app.command(&["user", "roles", "remove", &ada.email, "admin"]).output().unwrap();
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    app.refresh(&tokens.refresh).await.assert_ended("roles_changed");
}
