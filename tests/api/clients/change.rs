//! `doorward client set` and `doorward client rotate-secret`: no session and no token ends.

use doorward::audit::EventKind;
use serde_json::{Value, json};

use crate::audit::stored;
use crate::support::binary::{printed, run};
use crate::support::{Client, TestApp, until};

/// The overlap of two secrets in a test, in seconds.
const HOUR: u64 = 3600;

/// A service whose clock is not behind the command line's.
async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.catch_up();
    app
}

fn done(app: &TestApp, arguments: &[&str]) -> Value {
    let text = printed(app.command(&["client"]).args(arguments).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn an_app_is_changed_and_its_sessions_continue() {
    let app = start().await;
    let ada = app.signed_up().await;
    let shop = app.public_client().await;
    let tokens = app.log_in_to(&shop, &ada.email).await.tokens();
    let changed = done(
        &app,
        &[
            "set",
            &shop.id,
            "--name",
            "Shop",
            "--origin",
            "https://shop.example",
            "--token-lifetime",
            "2m",
            "--retry-window",
            "0s",
        ],
    );
    assert_eq!(changed["name"], "Shop");
    assert_eq!(changed["origins"], json!(["https://shop.example"]));
    app.me(&tokens.access).await.assert_status(200);
    let answer = app.refresh_as(&shop, &tokens.refresh).await;
    assert_eq!(answer.body["expires_in"], 120);
    until(async || app.api.clients.origins().await.unwrap().contains("https://shop.example")).await;

    let reset = ["set", &shop.id, "--no-origin", "--token-lifetime", "default"];
    let reset = done(&app, &reset);
    assert_eq!((&reset["origins"], &reset["name"]), (&json!([]), &json!("Shop")));
    assert_eq!(reset["token_lifetime_seconds"], Value::Null);
    assert_eq!(reset["retry_window_seconds"], 0.0);
    let details = stored(&app, EventKind::ClientChanged).await;
    assert_eq!(details.len(), 2);
    assert_eq!(details[0].detail.as_deref(), Some(&*shop.id));
    // The same again changes nothing.
    done(&app, &["set", &shop.id, "--name", "Shop"]);
    assert_eq!(stored(&app, EventKind::ClientChanged).await.len(), 2);
}

#[tokio::test]
async fn a_service_gets_other_scopes_and_keeps_its_secret() {
    let app = start().await;
    let service = app.service(&["a", "b"]).await;
    let changed = done(&app, &["set", &service.id, "--scope", "b", "--scope", "c"]);
    assert_eq!(changed["scopes"], json!(["b", "c"]));
    let form = [("grant_type", "client_credentials")];
    let token = app.post("/token").client(&service).form(&form).send().await.assert_status(200);
    assert_eq!(token.body["scope"], "b c");
}

#[tokio::test]
async fn a_change_that_is_invalid_is_refused_whole() {
    let app = start().await;
    let (shop, service) = (app.public_client().await, app.service(&["a"]).await);
    let long = "x".repeat(900);
    for (arguments, says) in [
        (&["set", &shop.id, "--scope", "a"][..], "scopes"),
        (&["set", &service.id, "--origin", "https://a.example"], "origins"),
        (&["set", &service.id, "--token-lifetime", "5m"], "lifetime"),
        (&["set", &shop.id, "--name", "New", "--origin", "https://a.example/"], "origin"),
        (&["set", &shop.id, "--token-lifetime", "1s"], "out of bounds"),
        (&["set", &shop.id, "--token-lifetime", "2m", "--retry-window", "5m"], "0 to 120 seconds"),
        (&["set", &shop.id, "--name", ""], "a name has"),
        (&["set", &service.id, "--scope", &long], "tokens.max_bytes"),
        (&["set", "019ab3e1-0b52-7e90-a2c6-5d41f7b80a93", "--name", "x"], "does not exist"),
        (&["rotate-secret", &shop.id], "secret"),
        (&["rotate-secret", &service.id, "--keep-old", "31d"], "out of bounds"),
        (&["rotate-secret", "x"], "does not exist"),
    ] {
        let refusal = run(app.command(&["client"]).args(arguments));
        assert!(!refusal.status.success(), "{arguments:?}");
        assert!(refusal.stderr.contains(says), "{arguments:?}: {}", refusal.stderr);
    }
    assert!(stored(&app, EventKind::ClientChanged).await.is_empty());
}

#[tokio::test]
async fn both_secrets_work_for_an_hour_and_then_one() {
    let app = start().await;
    let old = app.service(&["a"]).await;
    let form = [("grant_type", "client_credentials")];
    let token = app.post("/token").client(&old).form(&form).send().await.assert_status(200);
    let token = token.body["access_token"].as_str().unwrap();
    let rotated = done(&app, &["rotate-secret", &old.id, "--keep-old", "1h"]);
    let secret = |answer: &Value| answer["client_secret"].as_str().unwrap().to_owned();
    let new = Client { secret: secret(&rotated), ..old.clone() };
    assert!(rotated["old_secret_until"].is_string());
    for client in [&old, &new] {
        let answer = app.introspect(client, token).await.assert_status(200);
        assert_eq!(answer.body["active"], true, "tokens go on");
    }
    // The command's clock may be ahead of the service's by the seconds that the test takes.
    app.advance(HOUR - 60);
    for client in [&old, &new] {
        app.introspect(client, "x").await.assert_status(200);
    }
    app.advance(120);
    app.introspect(&old, "x").await.assert_oauth(401, "invalid_client");
    app.introspect(&new, "x").await.assert_status(200);

    // Without an overlap the old one ends at once, and so do those before it.
    let newest = done(&app, &["rotate-secret", &old.id]);
    assert_eq!(newest["old_secret_until"], Value::Null);
    let newest = Client { secret: secret(&newest), ..old.clone() };
    for client in [&old, &new] {
        app.introspect(client, "x").await.assert_oauth(401, "invalid_client");
    }
    app.introspect(&newest, "x").await.assert_status(200);
    let details = stored(&app, EventKind::ClientSecretRotated).await;
    assert_eq!(details.len(), 2);
    assert_eq!(details[0].detail.as_deref(), Some(&*old.id));
}

#[tokio::test]
async fn changes_of_one_client_at_once_are_all_kept() {
    let app = start().await;
    let shop = app.public_client().await;
    let id = crate::support::id(&shop.id);
    let name = doorward::clients::ClientChange { name: Some("New".into()), ..Default::default() };
    let origins = doorward::clients::ClientChange {
        origins: Some(vec!["https://a.example".into()]),
        ..Default::default()
    };
    let clients = &app.api.clients;
    let any = || doorward::database::ExpectedVersion::Any;
    let (one, other) =
        tokio::join!(clients.change(id, name, any()), clients.change(id, origins, any()));
    one.unwrap();
    other.unwrap();
    let listed = clients.list().await.unwrap();
    assert_eq!(listed[0].name, "New");
    assert!(clients.origins().await.unwrap().contains("https://a.example"));
}
