//! Clients.

use serde_json::{Value, json};

use crate::support::{Client, TestApp};

use super::{start, tag, text, token};

const WRITE: [&str; 2] = ["doorward:clients.read", "doorward:clients.write"];

#[tokio::test]
async fn a_client_is_registered_changed_rotated_and_removed() {
    let app = start().await;
    let desk = token(&app, &WRITE).await;
    let new = json!({ "name": "Orders", "kind": "confidential", "scopes": ["orders:read"] });
    let created = app.post("/admin/clients").bearer(&desk).json(&new).send().await;
    let created = created.assert_status(201);
    let path = created.header("location").unwrap().to_owned();
    let service = Client {
        id: text(&created.body["client_id"]),
        secret: text(&created.body["client_secret"]),
    };
    app.introspect(&service, "x").await.assert_status(200);

    let body = json!({ "name": "Ordering", "scopes": ["orders:read", "orders:write"] });
    let changing = |tag: &str| app.call("PATCH", &path).bearer(&desk).header("if-match", tag);
    let changed = changing(&tag(&created)).json(&body).send().await.assert_status(200);
    assert_eq!(changed.body["name"], "Ordering");
    let stale = changing(&tag(&created)).json(&body).send().await;
    stale.assert_problem(412, "precondition_failed");
    let shown = app.get(&path).bearer(&desk).send().await.assert_status(200);
    assert_eq!((&shown.body, tag(&shown)), (&changed.body, tag(&changed)));

    let rotate = || app.post(&format!("{path}/rotate-secret")).bearer(&desk);
    for stale in [&*tag(&created), "x", "W/\"2\""] {
        let stale = rotate().header("if-match", stale).send().await;
        stale.assert_problem(412, "precondition_failed");
    }
    let rotate = rotate().header("if-match", &tag(&changed));
    let rotated = rotate.json(&json!({ "keep_old_seconds": 120 })).send().await.assert_status(200);
    let new = Client { secret: text(&rotated.body["client_secret"]), ..service.clone() };
    for seconds in [0, 60] {
        app.advance(seconds);
        for client in [&service, &new] {
            app.introspect(client, "x").await.assert_status(200);
        }
    }
    app.advance(61);
    app.introspect(&service, "x").await.assert_oauth(401, "invalid_client");
    let desk = token(&app, &WRITE).await;
    let remove = |tag: &str| app.call("DELETE", &path).bearer(&desk).header("if-match", tag);
    remove(&tag(&changed)).send().await.assert_problem(412, "precondition_failed");
    remove(&tag(&rotated)).send().await.assert_status(204);
    app.introspect(&new, "x").await.assert_oauth(401, "invalid_client");
}

#[tokio::test]
async fn null_resets_a_lifetime_to_the_setting() {
    let app = start().await;
    let desk = token(&app, &WRITE).await;
    let new = json!({
        "name": "Shop", "kind": "public", "origins": ["https://shop.example"],
        "token_lifetime_seconds": 120, "retry_window_seconds": 0,
    });
    let created = app.post("/admin/clients").bearer(&desk).json(&new).send().await;
    let created = created.assert_status(201);
    assert!(created.body.get("client_secret").is_none());
    let path = created.header("location").unwrap().to_owned();
    let changing = async |body: Value| {
        let call = app.call("PATCH", &path).bearer(&desk).header("if-match", "*");
        call.json(&body).send().await
    };
    let reset = changing(json!({ "token_lifetime_seconds": null })).await.assert_status(200);
    assert_eq!(reset.body["token_lifetime_seconds"], Value::Null);
    assert_eq!(reset.body["retry_window_seconds"], 0.0);
    for (body, pointer) in [
        (json!({ "token_lifetime_seconds": 1 }), "/token_lifetime_seconds"),
        (json!({ "retry_window_seconds": 1_000_000 }), "/retry_window_seconds"),
        (json!({ "origins": ["https://shop.example/"] }), "/origins"),
        (json!({ "scopes": ["a"] }), "/scopes"),
        (json!({ "name": "" }), "/name"),
    ] {
        let answer = changing(body).await.assert_problem(422, "invalid_fields");
        assert_eq!(answer.body["errors"][0]["pointer"], pointer);
    }
    let rotate = app.post(&format!("{path}/rotate-secret")).bearer(&desk).send().await;
    rotate.assert_problem(422, "invalid_fields");
}

async fn client_of(app: &TestApp, path: &str) -> Value {
    let desk = token(app, &["doorward:clients.read"]).await;
    app.get(path).bearer(&desk).send().await.assert_status(200).body
}

#[tokio::test]
async fn no_call_creates_widens_rotates_or_removes_a_client_with_a_scope_of_doorward() {
    let app = start().await;
    let desk = token(&app, &WRITE).await;
    let protected = app.service(&["doorward:users.read", "orders:read"]).await;
    let plain = app.service(&["orders:read"]).await;
    let new = json!({ "name": "x", "kind": "confidential", "scopes": ["doorward:audit.read"] });
    let created = app.post("/admin/clients").bearer(&desk).json(&new).send().await;
    created.assert_problem(403, "forbidden");
    let of = |client: &Client| format!("/admin/clients/{}", client.id);
    let widened = json!({ "scopes": ["orders:read", "doorward:users.read"] });
    for (path, body) in [
        (of(&plain), widened),
        (of(&protected), json!({ "scopes": ["orders:read"] })),
        (of(&protected), json!({ "name": "x" })),
    ] {
        let before = client_of(&app, &path).await;
        let call = app.call("PATCH", &path).bearer(&desk).header("if-match", "*");
        call.json(&body).send().await.assert_problem(403, "forbidden");
        assert_eq!(client_of(&app, &path).await, before);
    }
    let rotate = app.post(&format!("{}/rotate-secret", of(&protected))).bearer(&desk).send().await;
    rotate.assert_problem(403, "forbidden");
    let remove = app.call("DELETE", &of(&protected)).bearer(&desk).header("if-match", "*");
    remove.send().await.assert_problem(403, "forbidden");
    app.introspect(&protected, "x").await.assert_status(200);
}
