//! Security events, and who caused them.

use serde_json::{Value, json};

use crate::support::client::PASSWORD;
use crate::support::mailbox::with_mail_and;
use crate::support::{TestApp, until};

use super::{on_main_port, start, text, token, token_of};

async fn events(app: &TestApp, reader: &str, query: &str) -> Vec<Value> {
    let path = format!("/admin/audit{query}");
    let page = app.get(&path).bearer(reader).send().await.assert_status(200);
    page.body["events"].as_array().unwrap().clone()
}

/// Operations on Ada, her session and a service, and the events that each adds.
fn operations() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let bea = json!({ "email": "bea@example.com", "password": PASSWORD });
    let cleo = json!({ "email": "cleo@example.com", "invite": true });
    let orders = json!({ "name": "Orders", "kind": "confidential" });
    vec![
        ("DELETE users/ADA/factors", Value::Null, &["factors_reset", "session_ended"]),
        ("POST users", bea, &["account_created"]),
        ("POST users", cleo, &["account_created", "mail_requested"]),
        ("POST users/ADA/password-reset", Value::Null, &["mail_requested"]),
        ("PUT users/ADA/roles", json!({ "roles": ["a"] }), &["roles_changed"]),
        ("PUT users/ADA/roles", json!({ "roles": [] }), &["roles_changed", "session_ended"]),
        ("PATCH users/ADA", json!({ "claims": { "plan": "pro" } }), &["claims_changed"]),
        ("PATCH users/ADA", json!({ "claims": {} }), &["claims_changed", "session_ended"]),
        ("DELETE users/ADA/sessions/SESSION", Value::Null, &["session_ended"]),
        ("DELETE users/ADA/sessions", Value::Null, &["session_ended"]),
        ("PATCH users/BEA", json!({ "email_verified": true }), &["email_verified"]),
        ("PATCH users/ADA", json!({ "disabled": true }), &["account_disabled", "session_ended"]),
        ("PATCH users/ADA", json!({ "disabled": false }), &["account_enabled"]),
        ("PATCH users/ADA", json!({ "email": "ada@example.org" }), &["email_changed"]),
        ("DELETE users/ADA", Value::Null, &["account_deleted"]),
        ("POST clients", orders, &["client_added"]),
        ("PATCH clients/SERVICE", json!({ "name": "Ordering" }), &["client_changed"]),
        ("POST clients/SERVICE/rotate-secret", Value::Null, &["client_secret_rotated"]),
        ("DELETE clients/SERVICE", Value::Null, &["client_removed"]),
    ]
}

#[tokio::test]
async fn every_change_names_the_client_that_made_it() {
    let app = with_mail_and(on_main_port).await;
    let ada = app.enrolled().await;
    // Her address is not proven.
    let bea = app.signed_up().await;
    let service = app.service(&["a"]).await;
    let scopes = ["doorward:users.write", "doorward:sessions.write", "doorward:clients.write"];
    let desk = app.service(&scopes).await;
    let writer = token_of(&app, &desk).await;
    let reader = token(&app, &["doorward:audit.read"]).await;
    let mut session = ada.user.tokens.session.clone();
    for (operation, body, kinds) in operations() {
        // While she has a second factor, is disabled or has another address, she has no new
        // session.
        let login = app.log_in(&ada.user.email, PASSWORD).await;
        if login.status == 200 {
            session = login.tokens().session;
        }
        let operation = operation
            .replace("ADA", &ada.user.id)
            .replace("BEA", &bea.id)
            .replace("SESSION", &session)
            .replace("SERVICE", &service.id);
        let (method, path) = operation.split_once(' ').unwrap();
        let mut before = Vec::new();
        for kind in kinds {
            before.push(events(&app, &reader, &format!("?event={kind}&limit=100")).await.len());
        }
        let call = app.call(method, &format!("/admin/{path}")).bearer(&writer);
        let call = call.header("if-match", "*");
        let call = if body.is_null() { call } else { call.json(&body) };
        let done = call.send().await;
        assert!(done.status < 300, "{operation}: {}", done.text);
        for (kind, before) in kinds.iter().zip(before) {
            let all = events(&app, &reader, &format!("?event={kind}&limit=100")).await;
            let new = &all[before..];
            assert!(!new.is_empty(), "{operation}: {kind}");
            assert!(new.iter().all(|it| it["actor"] == desk.id.as_str()), "{operation}: {new:?}");
        }
    }
    let own = events(&app, &reader, &format!("?user={}&limit=100", ada.user.id)).await;
    let deleted = own.iter().filter(|it| it["event"] == "account_deleted");
    assert_eq!(deleted.count(), 1, "{own:?}");
    assert!(own.iter().all(|it| it["event"] != "client_added"), "{own:?}");
}

#[tokio::test]
async fn events_are_read_from_the_oldest_on() {
    let app = start().await;
    for _ in 0..3 {
        app.signed_up().await;
    }
    let reader = token(&app, &["doorward:audit.read"]).await;
    let mut seen = Vec::new();
    let mut query = "?event=account_created&limit=2".to_owned();
    loop {
        let path = format!("/admin/audit{query}");
        let page = app.get(&path).bearer(&reader).send().await.assert_status(200).body;
        seen.extend(page["events"].as_array().unwrap().iter().map(|event| text(&event["id"])));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?event=account_created&limit=2&after={next}");
    }
    let mut sorted = seen.clone();
    sorted.sort();
    assert_eq!((seen.len(), &seen), (3, &sorted));
    let odd = app.get("/admin/audit?event=nothing").bearer(&reader).send().await;
    odd.assert_problem(400, "malformed_request");
}

#[tokio::test]
async fn reads_are_added_up_by_client_and_minute() {
    let app = start().await;
    let desk = app.service(&["doorward:users.read"]).await;
    let token_of_desk = token_of(&app, &desk).await;
    for _ in 0..20 {
        app.get("/admin/users").bearer(&token_of_desk).send().await.assert_status(200);
    }
    let reader = token(&app, &["doorward:audit.read"]).await;
    until(async || {
        let found = events(&app, &reader, "?event=admin_read").await;
        found.iter().any(|it| it["actor"] == desk.id.as_str() && it["times"] == 20)
    })
    .await;
}
