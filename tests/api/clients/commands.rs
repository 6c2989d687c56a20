//! `doorward client`.

use serde_json::{Value, json};

use crate::support::binary::{Doorward, doorward, printed, run};
use crate::support::{Client, TestApp, until};

#[tokio::test]
async fn clients_are_added_listed_and_removed_while_the_service_runs() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let command = |arguments: &[&str]| {
        let text = printed(app.command(&["client"]).args(arguments).arg("--json"));
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let shop = command(&[
        "add",
        "--name",
        "Shop",
        "--public",
        "--origin",
        "https://shop.example",
        "--origin",
        "http://localhost:5173",
        "--token-lifetime",
        "5m",
        "--retry-window",
        "0s",
    ]);
    assert_eq!(shop["kind"], "public");
    assert_eq!(shop["origins"], json!(["https://shop.example", "http://localhost:5173"]));
    assert_eq!(shop["token_lifetime_seconds"], 300.0);
    assert_eq!(shop["retry_window_seconds"], 0.0);
    assert!(shop.get("client_secret").is_none());
    let orders = command(&["add", "--name", "Orders", "--scope", "a", "--scope", "b:c"]);
    assert_eq!(orders["scopes"], json!(["a", "b:c"]));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let service = Client { id: text(&orders["client_id"]), secret: text(&orders["client_secret"]) };
    let client = Client { id: text(&shop["client_id"]), secret: String::new() };

    let answer = app.log_in_to(&client, &user.email).await;
    assert_eq!(answer.body["expires_in"], 300);
    let tokens = answer.tokens();
    app.introspect(&service, &tokens.access).await.assert_status(200);

    let listed = command(&["list"]);
    let mut known = [shop.clone(), orders.clone()];
    known[1].as_object_mut().unwrap().remove("client_secret");
    assert_eq!(listed, json!(known), "and no secret");

    let removed = command(&["remove", &client.id]);
    assert_eq!(removed, json!({ "client_id": client.id, "sessions_ended": 1 }));
    app.refresh_as(&client, &tokens.refresh).await.assert_ended("client_removed");
    until(async || app.me(&tokens.access).await.status == 401).await;
    command(&["remove", &service.id]);
    app.introspect(&service, &tokens.access).await.assert_oauth(401, "invalid_client");
    assert_eq!(command(&["list"]), json!([]));
}

#[tokio::test]
async fn the_text_output_has_the_same_contents_as_the_json_output() {
    let app = TestApp::start().await;
    let added = printed(&mut app.command(&["client", "add", "--name", "Orders", "--scope", "a"]));
    let line = |name: &str| {
        let prefix = format!("{name}: ");
        let found = added.lines().find_map(|line| line.strip_prefix(&prefix));
        found.unwrap_or_else(|| panic!("{added}")).to_owned()
    };
    let service = Client { id: line("client_id"), secret: line("client_secret") };
    assert!(service.secret.starts_with("dws_") && service.secret.len() == 47);
    app.introspect(&service, "x").await.assert_status(200);
    let listed = printed(&mut app.command(&["client", "list"]));
    assert_eq!(listed, format!("{}  Orders  confidential  a\n", service.id));
    let removed = printed(&mut app.command(&["client", "remove", &service.id]));
    assert!(removed.contains(&service.id), "{removed}");
    assert_eq!(printed(&mut app.command(&["client", "list"])), "");
}

#[tokio::test]
async fn a_client_can_be_added_before_the_first_start() {
    let home = tempfile::tempdir().unwrap();
    printed(doorward(home.path()).args(["db", "migrate"]));
    let added = ["client", "add", "--name", "Orders", "--json"];
    let added: Value = serde_json::from_str(&printed(doorward(home.path()).args(added))).unwrap();
    let service = Doorward::start(&mut doorward(home.path()));
    let (id, secret) = (added["client_id"].as_str(), added["client_secret"].as_str());
    let client = Client { id: id.unwrap().into(), secret: secret.unwrap().into() };
    let call = service.call("POST", "/introspect").client(&client).form(&[("token", "x")]);
    call.send().await.assert_status(200);
}

#[tokio::test]
async fn an_invalid_client_is_rejected_with_a_reason() {
    let app = TestApp::start().await;
    let nobody = "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75";
    for (status, arguments, why) in [
        (2, &["add", "--name", "x", "--public", "--origin", "https://a.example/"][..], "--origin"),
        (2, &["add", "--name", "x", "--public", "--origin", "*"], "--origin"),
        (2, &["add", "--name", "x", "--public", "--token-lifetime", "11m"], "at most 10m"),
        (2, &["add", "--name", "x", "--public", "--token-lifetime", "1s"], "at least 1m"),
        (2, &["add", "--name", "x", "--public", "--token-lifetime", "soon"], "--token-lifetime"),
        (
            2,
            &["add", "--name=x", "--public", "--token-lifetime=2m", "--retry-window=3m"],
            "at most 2m",
        ),
        (2, &["add", "--name", "x", "--public", "--scope", "a"], "--scope"),
        (2, &["add", "--name", "x", "--origin", "https://a.example"], "--public"),
        (2, &["add"], "--name"),
        (1, &["add", "--name", "x", "--scope", "a b"], "not a valid scope"),
        (1, &["add", "--name", ""], "a name has"),
        (1, &["add", "--name", "a\u{1b}[2Jb"], "a name has"),
        (1, &["remove", nobody], "does not exist"),
        (1, &["remove", "doorward"], "does not exist"),
    ] {
        let refusal = run(app.command(&["client"]).args(arguments));
        assert_eq!(refusal.status.code(), Some(status), "{arguments:?}: {}", refusal.stderr);
        assert!(refusal.stderr.contains(why), "{arguments:?}: {}", refusal.stderr);
    }
    assert_eq!(printed(&mut app.command(&["client", "list"])), "");
}
