//! Security events, and who caused them.

use serde_json::{Value, json};

use crate::support::client::PASSWORD;
use crate::support::{TestApp, until};

use super::{start, text, token, token_of};

async fn events(app: &TestApp, reader: &str, query: &str) -> Vec<Value> {
    let path = format!("/admin/audit{query}");
    let page = app.get(&path).bearer(reader).send().await.assert_status(200);
    page.body["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_change_names_the_client_that_made_it() {
    let app = start().await;
    let desk = app.service(&["doorward:users.write", "doorward:clients.write"]).await;
    let writer = token_of(&app, &desk).await;
    let reader = token(&app, &["doorward:audit.read"]).await;
    let new = json!({ "email": "ada@example.com", "password": PASSWORD });
    let ada = app.post("/admin/users").bearer(&writer).json(&new).send().await.assert_status(201);
    let path = format!("/admin/users/{}", text(&ada.body["id"]));
    let change =
        |method: &str, path: &str| app.call(method, path).bearer(&writer).header("if-match", "*");
    let roles = json!({ "roles": ["a"] });
    change("PUT", &format!("{path}/roles")).json(&roles).send().await.assert_status(200);
    change("PATCH", &path).json(&json!({ "disabled": true })).send().await.assert_status(200);
    change("DELETE", &path).send().await.assert_status(204);
    let new = json!({ "name": "Orders", "kind": "confidential" });
    app.post("/admin/clients").bearer(&writer).json(&new).send().await.assert_status(201);
    for kind in
        ["account_created", "roles_changed", "account_disabled", "account_deleted", "client_added"]
    {
        let found = events(&app, &reader, &format!("?event={kind}")).await;
        assert!(found.iter().any(|it| it["actor"] == desk.id.as_str()), "{kind}: {found:?}");
    }
    let own = format!("?user={}", text(&ada.body["id"]));
    assert_eq!(events(&app, &reader, &own).await.len(), 4);
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
