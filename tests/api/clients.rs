//! Clients: what belongs to whom, what an app may have of its own, and what the command line does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorward::clients::{ClientKind, ClientSettings};
use doorward::sessions::client_credentials::remove_client;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::app::CROWD;
use crate::support::binary::{Doorward, doorward, printed, run};
use crate::support::client::PASSWORD;
use crate::support::{Client, TestApp, claims, id, until};

async fn app_with(app: &TestApp, client_settings: ClientSettings) -> Client {
    app.client(ClientKind::Public { origins: Vec::new(), client_settings }).await
}

/// As `doorward client remove` does it.
pub async fn remove(app: &TestApp, client: &Client) -> Option<usize> {
    let revocations = &app.api.revocations;
    remove_client(app.db(), &app.clock, revocations, id(&client.id)).await.unwrap()
}

// What belongs to whom.

#[tokio::test]
async fn a_session_belongs_to_the_client_that_logged_in() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let shop = app.public_client().await;
    let tokens = app.log_in_to(&shop, &user.email).await.tokens();
    assert_eq!(claims(&tokens.access)["client_id"], shop.id);
    assert_eq!(claims(&user.tokens.access)["client_id"], "doorward");
    let next = app.refresh_as(&shop, &tokens.refresh).await.tokens();
    assert_eq!(claims(&next.access)["client_id"], shop.id);
    app.me(&next.access).await.assert_status(200);
}

#[tokio::test]
async fn a_refresh_token_used_by_another_client_is_refused_and_nothing_else_changes() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, other) = (app.public_client().await, app.public_client().await);
    let first = app.log_in_to(&shop, &user.email).await.tokens();
    let second = app.refresh_as(&shop, &first.refresh).await.tokens();
    let live = app.live_sessions(&user.id).await;
    // Far outside the window: for the right client the first token would be forgiven once, the
    // second a rotation.
    app.advance(300);
    for token in [&first.refresh, &second.refresh] {
        for _ in 0..3 {
            app.refresh(token).await.assert_ended("wrong_client");
            app.refresh_as(&other, token).await.assert_ended("wrong_client");
        }
    }
    // The other way round, too.
    app.refresh_as(&shop, &user.tokens.refresh).await.assert_ended("wrong_client");
    assert_eq!(app.live_sessions(&user.id).await, live);
    app.me(&second.access).await.assert_status(200);
    let third = app.refresh_as(&shop, &second.refresh).await.tokens();
    assert_eq!((third.generation, &third.session), (2, &first.session));
    let own = app.refresh(&user.tokens.refresh).await.tokens();
    assert_eq!(own.generation, 1);
}

#[tokio::test]
async fn an_unknown_or_confidential_client_cannot_log_in_or_refresh() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, service) = (app.public_client().await, app.service(&[]).await);
    let hashed = app.hashed();
    let nobody = [
        service.id.as_str(),
        "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75",
        &shop.id.to_uppercase(),
        &shop.id.replace('-', ""),
        &format!(" {}", shop.id),
        "Doorward",
        "",
        "*",
        "\u{e4}' OR 1=1 --",
    ];
    for client in nobody {
        let client = Client { id: client.to_owned(), secret: String::new() };
        let refused = app.log_in_to(&client, &user.email).await;
        refused.assert_problem(400, "unknown_client");
        let refused = app.refresh_as(&client, &user.tokens.refresh).await;
        let refused = refused.assert_problem(400, "unknown_client");
        assert_eq!(refused.body["error"], "invalid_client");
    }
    assert_eq!(app.hashed(), hashed, "no password was looked at");
    assert_eq!(app.live_sessions(&user.id).await.len(), 1);
    let named = Client { id: "doorward".into(), secret: String::new() };
    app.log_in_to(&named, &user.email).await.assert_status(200);
    app.refresh_as(&named, &user.tokens.refresh).await.assert_status(200);
}

#[tokio::test]
async fn an_unknown_client_says_nothing_about_the_account() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let client = "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75";
    let mut answers = Vec::new();
    for (email, password) in
        [(user.email.as_str(), PASSWORD), (&user.email, "wrong"), ("nobody@example.com", "wrong")]
    {
        let body = json!({ "email": email, "password": password, "client_id": client });
        let mut answer = app.post("/login").json(&body).send().await;
        answer.body["request_id"].take();
        answers.push((answer.status, answer.body));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[tokio::test]
async fn a_change_of_password_goes_on_with_the_same_client() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let shop = app.public_client().await;
    user.tokens = app.log_in_to(&shop, &user.email).await.tokens();
    let tokens = user.change_password(PASSWORD, "eight walnuts paint the harbour").await.tokens();
    assert_eq!(claims(&tokens.access)["client_id"], shop.id);
    app.refresh_as(&shop, &tokens.refresh).await.assert_status(200);
}

// What an app may have of its own.

#[tokio::test]
async fn an_apps_tokens_live_as_long_as_it_says_and_never_longer_than_all_others() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let lifetime = |seconds| ClientSettings {
        token_lifetime: Some(Duration::from_secs(seconds)),
        ..ClientSettings::default()
    };
    let short = app_with(&app, lifetime(60)).await;
    let long = app_with(&app, lifetime(100_000)).await;
    let body = app.log_in_to(&long, &user.email).await.assert_status(200).body;
    assert_eq!(body["expires_in"], 600);
    let answer = app.log_in_to(&short, &user.email).await;
    assert_eq!(answer.body["expires_in"], 60);
    let tokens = answer.tokens();
    let times = claims(&tokens.access);
    assert_eq!(times["exp"].as_i64().unwrap() - times["iat"].as_i64().unwrap(), 60);
    app.advance(59);
    app.me(&tokens.access).await.assert_status(200);
    app.advance(1);
    app.me(&tokens.access).await.assert_problem(401, "token_expired");
    app.me(&user.tokens.access).await.assert_status(200);
    let answer = app.refresh_as(&short, &tokens.refresh).await.assert_status(200);
    assert_eq!(answer.body["expires_in"], 60);
}

#[tokio::test]
async fn an_app_in_strict_mode_needs_its_key_for_a_retry_and_the_others_do_not() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let terms = ClientSettings { retry_window: Some(Duration::ZERO), ..ClientSettings::default() };
    let strict = app_with(&app, terms).await;
    let refresh = async |token: &str, key: &str| {
        let body = json!({ "refresh_token": token, "client_id": strict.id });
        app.post("/refresh").header("idempotency-key", key).json(&body).send().await
    };
    let first = app.log_in_to(&strict, &user.email).await.tokens();
    let key = "the-first-attempt";
    let second = refresh(&first.refresh, key).await.tokens();
    assert_eq!(refresh(&first.refresh, key).await.tokens().refresh, second.refresh);
    app.refresh_as(&strict, &first.refresh).await.assert_ended("refresh_token_reused");
    app.refresh_as(&strict, &second.refresh).await.assert_ended("refresh_token_reused");

    let next = app.refresh(&user.tokens.refresh).await.tokens();
    assert_eq!(app.refresh(&user.tokens.refresh).await.tokens().refresh, next.refresh);
}

#[tokio::test]
async fn an_apps_origins_may_call_as_soon_as_it_is_added_and_no_longer_than_it_is_there() {
    let app = TestApp::with(|config| config.cors.origins = vec!["https://a.example".into()]).await;
    let allowed = async |origin: &str| {
        let preflight = app
            .call("OPTIONS", "/login")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let answer = preflight.send().await;
        let permission = answer.header("access-control-allow-origin").map(str::to_owned);
        assert!(permission.as_deref().is_none_or(|it| it == origin), "{permission:?}");
        permission.is_some()
    };
    assert!(allowed("https://a.example").await && !allowed("https://b.example").await);
    let origins = vec!["https://b.example".into(), "http://localhost:5173".into()];
    let shop = app
        .client(ClientKind::Public { origins, client_settings: ClientSettings::default() })
        .await;
    until(async || allowed("https://b.example").await).await;
    assert!(allowed("http://localhost:5173").await && allowed("https://a.example").await);
    for foreign in ["https://b.example:444", "http://b.example", "https://B.example", "null"] {
        assert!(!allowed(foreign).await, "{foreign}");
    }
    let call = app.get("/me").header("origin", "https://b.example").send().await;
    assert_eq!(call.header("access-control-allow-origin"), Some("https://b.example"));
    remove(&app, &shop).await.unwrap();
    until(async || !allowed("https://b.example").await).await;
    assert!(allowed("https://a.example").await);
}

// The end of a client.

#[tokio::test]
async fn with_a_client_its_sessions_and_tokens_end_and_no_others() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, other) = (app.public_client().await, app.public_client().await);
    let mut lost = Vec::new();
    for _ in 0..3 {
        lost.push(app.log_in_to(&shop, &user.email).await.tokens());
    }
    let kept = app.log_in_to(&other, &user.email).await.tokens();
    assert_eq!(remove(&app, &shop).await, Some(3));
    for tokens in &lost {
        app.me(&tokens.access).await.assert_problem(401, "token_revoked");
        app.refresh_as(&shop, &tokens.refresh).await.assert_ended("client_removed");
    }
    app.log_in_to(&shop, &user.email).await.assert_problem(400, "unknown_client");
    app.me(&kept.access).await.assert_status(200);
    app.me(&user.tokens.access).await.assert_status(200);
    app.refresh_as(&other, &kept.refresh).await.assert_status(200);
    assert_eq!(app.live_sessions(&user.id).await.len(), 2);
    assert_eq!(remove(&app, &shop).await, None);

    let app = app.restart().await;
    app.me(&lost[0].access).await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn an_interrupted_removal_lets_no_session_continue() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, service) = (app.public_client().await, app.service(&[]).await);
    let tokens = app.log_in_to(&shop, &user.email).await.tokens();
    // The first unit of work of it, and no more.
    let client = id(&shop.id);
    let revocations = app.api.revocations.clone();
    let now = app.clock.now();
    app.db()
        .write(move |tx| {
            doorward::clients::remove(tx, client)?;
            revocations.revoke(tx, client, now)
        })
        .await
        .unwrap();
    app.me(&tokens.access).await.assert_problem(401, "token_revoked");
    app.refresh_as(&shop, &tokens.refresh).await.assert_ended("client_removed");
    let said = app.introspect(&service, &tokens.refresh).await.assert_status(200);
    assert_eq!(said.body, json!({ "active": false }));
    assert_eq!(remove(&app, &shop).await, Some(1), "another call goes on");
    app.refresh_as(&shop, &tokens.refresh).await.assert_ended("client_removed");
}

#[tokio::test]
async fn logins_and_refreshes_that_are_under_way_leave_no_token_of_a_removed_client() {
    let app = TestApp::with(|config| config.database.pool_size = CROWD).await;
    let user = app.signed_up().await;
    let shop = app.public_client().await;
    let done = AtomicUsize::new(0);
    // Each goes on until it is refused.
    let lanes = join_all((0..4).map(async |_| {
        let mut got = Vec::new();
        loop {
            let answer = app.log_in_to(&shop, &user.email).await;
            if answer.status != 200 {
                answer.assert_problem(400, "unknown_client");
                return got;
            }
            let first = answer.tokens();
            let next = app.refresh_as(&shop, &first.refresh).await;
            got.push(first);
            done.fetch_add(1, Ordering::Relaxed);
            if next.status != 200 {
                next.assert_ended("client_removed");
                return got;
            }
            got.push(next.tokens());
        }
    }));
    let removal = async {
        until(async || done.load(Ordering::Relaxed) >= 6).await;
        remove(&app, &shop).await
    };
    let (lanes, removed) = tokio::join!(lanes, removal);
    assert!(removed.is_some_and(|ended| ended >= 6));
    for tokens in lanes.into_iter().flatten() {
        app.me(&tokens.access).await.assert_problem(401, "token_revoked");
        app.refresh_as(&shop, &tokens.refresh).await.assert_ended("client_removed");
    }
}

// The command line.

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
async fn the_lines_for_people_say_the_same() {
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
        (2, &["add", "--name", "x", "--public", "--token-lifetime", "11m"], "10m at most"),
        (2, &["add", "--name", "x", "--public", "--token-lifetime", "1s"], "1m at least"),
        (2, &["add", "--name", "x", "--public", "--token-lifetime", "soon"], "--token-lifetime"),
        (
            2,
            &["add", "--name=x", "--public", "--token-lifetime=2m", "--retry-window=3m"],
            "2m at most",
        ),
        (2, &["add", "--name", "x", "--public", "--scope", "a"], "--scope"),
        (2, &["add", "--name", "x", "--origin", "https://a.example"], "--public"),
        (2, &["add"], "--name"),
        (1, &["add", "--name", "x", "--scope", "a b"], "no scope"),
        (1, &["add", "--name", ""], "a name has"),
        (1, &["add", "--name", "a\u{1b}[2Jb"], "a name has"),
        (1, &["remove", nobody], "there is no client"),
        (1, &["remove", "doorward"], "there is no client"),
    ] {
        let refusal = run(app.command(&["client"]).args(arguments));
        assert_eq!(refusal.status.code(), Some(status), "{arguments:?}: {}", refusal.stderr);
        assert!(refusal.stderr.contains(why), "{arguments:?}: {}", refusal.stderr);
    }
    assert_eq!(printed(&mut app.command(&["client", "list"])), "");
}
