//! The endpoints that OAuth libraries know: `/token`, `/introspect`, `/revoke` and the metadata.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::ISSUER;
use crate::support::client::Call;
use crate::support::{Answer, Client, TestApp, User, claims, id};

const ENDPOINTS: [&str; 3] = ["/token", "/introspect", "/revoke"];

/// A way to end a session.
type End = fn(&User<'_>) -> Call;

fn form(app: &TestApp, path: &str, parameters: &[(&str, &str)]) -> Call {
    app.post(path).form(parameters)
}

fn refresh_grant(app: &TestApp, token: &str) -> Call {
    form(app, "/token", &[("grant_type", "refresh_token"), ("refresh_token", token)])
}

async fn machine_token(app: &TestApp, service: &Client) -> Answer {
    let grant = [("grant_type", "client_credentials")];
    form(app, "/token", &grant).client(service).send().await
}

async fn revoke(app: &TestApp, token: &str) -> Answer {
    form(app, "/revoke", &[("token", token)]).send().await
}

async fn assert_active(app: &TestApp, service: &Client, token: &str) -> Value {
    let body = app.introspect(service, token).await.assert_status(200).body;
    assert_eq!(body["active"], true, "{body}");
    body
}

#[track_caller]
fn assert_inactive(answer: Answer) {
    let answer = answer.assert_status(200);
    assert_eq!(answer.text, r#"{"active":false}"#);
}

fn basic(id: &str, secret: &str) -> String {
    use base64::Engine as _;
    let both = format!("{id}:{secret}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
}

// The token endpoint.

#[tokio::test]
async fn a_refresh_grant_is_a_refresh() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let first = refresh_grant(&app, &user.tokens.refresh).send().await;
    for (name, value) in [("cache-control", "no-store"), ("pragma", "no-cache")] {
        assert_eq!(first.header(name), Some(value));
    }
    let first = first.tokens();
    assert_eq!(first.generation, 1);
    app.me(&first.access).await.assert_status(200);
    // A retry, here and there, gets the same successor.
    let again = refresh_grant(&app, &user.tokens.refresh).send().await.tokens();
    assert_eq!(again.refresh, first.refresh);
    assert_eq!(app.refresh(&user.tokens.refresh).await.tokens().refresh, first.refresh);
    // Once the window is over, with its key.
    app.advance(60);
    let key = "the-key-of-this-attempt";
    let with_key =
        async |token: &str| refresh_grant(&app, token).header("idempotency-key", key).send().await;
    let second = with_key(&first.refresh).await.tokens();
    app.advance(60);
    assert_eq!(with_key(&first.refresh).await.tokens().refresh, second.refresh);
    // And what was stolen is seen.
    let third = app.refresh(&second.refresh).await;
    assert_eq!(third.status, 200);
    let stolen = refresh_grant(&app, &user.tokens.refresh).send().await;
    let stolen = stolen.assert_oauth(400, "invalid_grant");
    assert!(stolen.body["error_description"].as_str().unwrap().contains("stolen"));
    assert!(stolen.header("www-authenticate").is_none());
    app.refresh(&second.refresh).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn a_refresh_grant_is_for_the_client_that_logged_in() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, other) = (app.public_client().await, app.public_client().await);
    let service = app.service(&["read"]).await;
    let tokens = app.log_in_to(&shop, &user.email).await.tokens();
    let token = tokens.refresh.as_str();
    let named = |client: &str| {
        let grant = [("grant_type", "refresh_token"), ("refresh_token", token)];
        form(&app, "/token", &[grant.as_slice(), &[("client_id", client)]].concat()).send()
    };
    refresh_grant(&app, token).send().await.assert_oauth(400, "invalid_grant");
    named("doorward").await.assert_oauth(400, "invalid_grant");
    named(&other.id).await.assert_oauth(400, "invalid_grant");
    let proven = refresh_grant(&app, token).client(&service).send().await;
    proven.assert_oauth(400, "invalid_grant");
    for unknown in ["nobody", &service.id, "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75"] {
        named(unknown).await.assert_oauth(400, "invalid_client");
    }
    app.me(&tokens.access).await.assert_status(200);
    assert_eq!(named(&shop.id).await.tokens().generation, 1);
}

#[tokio::test]
async fn a_refresh_grant_widens_no_scope_and_a_refusal_spends_nothing() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let token = user.tokens.refresh.as_str();
    let grant = [("grant_type", "refresh_token"), ("refresh_token", token)];
    let with = |more: &[(&str, &str)]| form(&app, "/token", &[&grant, more].concat()).send();
    with(&[("scope", "admin")]).await.assert_oauth(400, "invalid_scope");
    with(&[("scope", "")]).await.assert_status(200);
    with(&[("audience", "other"), ("roles", "admin")]).await.assert_status(200);
    assert_eq!(app.refresh(token).await.tokens().generation, 1);
}

#[tokio::test]
async fn malformed_token_requests_get_oauth_errors() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let token = user.tokens.refresh.as_str();
    let media_type = "application/x-www-form-urlencoded";
    for (body, error) in [
        (String::new(), "invalid_request"),
        ("grant_type=".into(), "invalid_request"),
        ("grant_type=refresh_token".into(), "invalid_request"),
        ("grant_type=refresh_token&refresh_token=".into(), "invalid_request"),
        (
            format!("grant_type=refresh_token&refresh_token={token}&refresh_token={token}"),
            "invalid_request",
        ),
        (format!("grant_type=refresh_token&refresh_token={token}&x=1&x=1"), "invalid_request"),
        (
            format!("grant_type=refresh_token&grant_type=refresh_token&refresh_token={token}"),
            "invalid_request",
        ),
        (format!("grant_type=refresh_token&refresh_token={token}%00"), "invalid_request"),
        (format!("grant_type=refresh_token&refresh_token={token}%0d%0a"), "invalid_request"),
        (format!("grant_type=refresh_token&refresh_token={token}%ff"), "invalid_request"),
        (format!("grant_type=refresh_token&refresh_token={token}x"), "invalid_grant"),
        (format!("grant_type=refresh_token&refresh_token={}", user.tokens.access), "invalid_grant"),
        ("grant_type=password&username=a&password=b".into(), "unsupported_grant_type"),
        ("grant_type=authorization_code&code=x".into(), "unsupported_grant_type"),
        (format!("grant_type=Refresh_Token&refresh_token={token}"), "unsupported_grant_type"),
    ] {
        let answer = app.post("/token").body(media_type, body.clone()).send().await;
        let answer = answer.assert_oauth(400, error);
        assert!(!answer.text.contains(token), "{body}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("pragma"), Some("no-cache"));
    }
    assert_eq!(app.refresh(token).await.tokens().generation, 1);
}

#[tokio::test]
async fn a_service_is_given_a_token_in_its_own_name() {
    let app = TestApp::start().await;
    let service = app.service(&["orders:read", "orders:write"]).await;
    let answer = machine_token(&app, &service).await.assert_status(200);
    assert_eq!(answer.body["scope"], "orders:read orders:write");
    assert_eq!(answer.body["expires_in"], 600);
    assert!(answer.body.get("refresh_token").is_none());
    let token = answer.body["access_token"].as_str().unwrap();
    let claims = claims(token);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(service.id), &json!(service.id)));
    assert_eq!(claims["scope"], "orders:read orders:write");
    assert!(claims.get("sid").is_none() && claims.get("roles").is_none());
    let known = assert_active(&app, &service, token).await;
    assert_eq!((&known["scope"], known.get("sid")), (&claims["scope"], None));

    // It is nobody's account.
    let body = json!({ "current_password": "a", "new_password": "b" });
    for call in [
        app.get("/me"),
        app.get("/sessions"),
        app.call("DELETE", "/sessions/019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75"),
        app.post("/logout"),
        app.post("/logout?scope=all"),
        app.post("/me/password").json(&body),
        app.post("/me/close").json(&json!({ "password": "a" })),
    ] {
        call.bearer(token).send().await.assert_problem(401, "invalid_token");
    }
    app.refresh(token).await.assert_ended("unknown_token");
    app.advance(600);
    assert_inactive(app.introspect(&service, token).await);
}

#[tokio::test]
async fn a_service_has_no_more_scope_than_it_was_given() {
    let app = TestApp::start().await;
    let service = app.service(&["read", "write"]).await;
    let grant = ("grant_type", "client_credentials");
    let asked =
        |scope: &str| form(&app, "/token", &[grant, ("scope", scope)]).client(&service).send();
    assert_eq!(asked("write").await.assert_status(200).body["scope"], "write");
    assert_eq!(asked("write read").await.assert_status(200).body["scope"], "write read");
    for more in ["admin", "read admin", "READ", "rea", "read  write", " read", "read\twrite"] {
        let refused = asked(more).await;
        assert_eq!(refused.status, 400, "{more:?}: {}", refused.text);
    }
    let plain = app.service(&[]).await;
    assert!(machine_token(&app, &plain).await.assert_status(200).body.get("scope").is_none());
    let asks = form(&app, "/token", &[grant, ("scope", "read")]).client(&plain).send().await;
    asks.assert_oauth(400, "invalid_scope");
}

#[tokio::test]
async fn with_a_service_its_tokens_end() {
    let app = TestApp::start().await;
    let (gone, stays) = (app.service(&["a"]).await, app.service(&["a"]).await);
    let text = |answer: Answer| answer.body["access_token"].as_str().unwrap().to_owned();
    let lost = text(machine_token(&app, &gone).await);
    let kept = text(machine_token(&app, &stays).await);
    let revocations = &app.api.revocations;
    doorward::sessions::client_credentials::remove_client(
        app.db(),
        &app.clock,
        revocations,
        id(&gone.id),
    )
    .await
    .unwrap();
    assert_inactive(app.introspect(&stays, &lost).await);
    assert_active(&app, &stays, &kept).await;
    machine_token(&app, &gone).await.assert_oauth(401, "invalid_client");
    let app = app.restart().await;
    assert_inactive(app.introspect(&stays, &lost).await);
}

// Who asks.

#[tokio::test]
async fn a_service_proves_itself_in_the_header_or_in_the_form() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let (id, secret) = (service.id.as_str(), service.secret.as_str());
    let header = |value: &str| {
        form(&app, "/introspect", &[("token", "x")]).header("authorization", value).send()
    };
    header(&basic(id, secret)).await.assert_status(200);
    header(&basic(id, secret).replace("Basic", "bAsIc")).await.assert_status(200);
    // RFC 6749 2.3.1: each is encoded as in a form; oauth4webapi escapes more than it must.
    let escaped = |text: &str| text.replace('-', "%2D").replace('_', "%5F");
    header(&basic(&escaped(id), &escaped(secret))).await.assert_status(200);
    let posted = [("token", "x"), ("client_id", id), ("client_secret", secret)];
    form(&app, "/introspect", &posted).send().await.assert_status(200);
    let twice = form(&app, "/introspect", &[("token", "x"), ("client_id", id)]).client(&service);
    twice.send().await.assert_status(200);
}

#[tokio::test]
async fn two_proofs_or_half_of_one_are_refused() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let (id, secret) = (("client_id", service.id.as_str()), ("client_secret", &*service.secret));
    for path in ENDPOINTS {
        let base = [("token", "x"), ("grant_type", "client_credentials")];
        let with = |more: &[(&str, &str)]| form(&app, path, &[&base, more].concat());
        for call in [
            with(&[id, secret]).client(&service),
            with(&[secret]).client(&service),
            with(&[("client_id", "doorward")]).client(&service),
            with(&[secret]),
            with(&[]).client(&service).header("authorization", &basic("a", "b")),
        ] {
            let answer = call.send().await.assert_oauth(400, "invalid_request");
            assert!(answer.header("www-authenticate").is_none());
            assert!(!answer.text.contains(&service.secret));
        }
    }
}

#[tokio::test]
async fn failed_client_authentication_reveals_nothing() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (service, other) = (app.service(&[]).await, app.service(&[]).await);
    let shop = app.public_client().await;
    let (id, secret) = (service.id.as_str(), service.secret.as_str());
    let mut last = secret.to_owned();
    let end = if last.pop() == Some('A') { 'Q' } else { 'A' };
    last.push(end);
    let nobody = "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75";
    for path in ENDPOINTS {
        let token = user.tokens.refresh.as_str();
        let base = [("token", token), ("grant_type", "client_credentials")];
        let mut answers = Vec::new();
        for (id, secret) in [
            (id, last.as_str()),
            (id, &other.secret),
            (id, ""),
            (id, "wrong"),
            (id, &secret[1..]),
            (id, &secret.to_uppercase()),
            (nobody, secret),
            (&id.to_uppercase(), secret),
            ("doorward", secret),
            (&shop.id, secret),
            (&shop.id, ""),
            ("", ""),
            ("\u{e4}", "' OR 1=1 --"),
        ] {
            let header = form(&app, path, &base).header("authorization", &basic(id, secret));
            answers.push(header.send().await);
            if secret.is_ascii() && id.is_ascii() && !id.is_empty() && !secret.is_empty() {
                let more = [("client_id", id), ("client_secret", secret)];
                answers.push(form(&app, path, &[&base[..], &more].concat()).send().await);
            }
        }
        let first = answers[0].clone().assert_oauth(401, "invalid_client");
        assert_eq!(first.header("www-authenticate"), Some(r#"Basic realm="doorward""#));
        for answer in answers {
            assert_eq!((answer.status, &answer.text), (401, &first.text));
            let names = |answer: &Answer| {
                answer.headers.keys().map(ToString::to_string).collect::<BTreeSet<_>>()
            };
            assert_eq!(names(&answer), names(&first));
        }
        for scheme in [
            format!("Bearer {}", user.tokens.access),
            format!("Digest {}", basic(id, secret)),
            "Basic".into(),
            "Basic ?".into(),
            String::new(),
        ] {
            let call = form(&app, path, &base).header("authorization", &scheme);
            call.send().await.assert_oauth(401, "invalid_client");
        }
        let assertion = [("client_id", id), ("client_assertion", "a.b.c")];
        let asserted = form(&app, path, &[&base[..], &assertion].concat()).send().await;
        asserted.assert_oauth(401, "invalid_client");
    }
    for path in ["/token", "/introspect"] {
        let base = [("token", "x"), ("grant_type", "client_credentials")];
        for more in [&[][..], &[("client_id", shop.id.as_str())], &[("client_id", id)]] {
            let call = form(&app, path, &[&base[..], more].concat());
            call.send().await.assert_oauth(401, "invalid_client");
        }
    }
    app.me(&user.tokens.access).await.assert_status(200);
}

#[tokio::test]
async fn only_failures_count_and_authenticated_clients_are_never_blocked() {
    let app = TestApp::with(|config| {
        config.limits.login_burst = 5;
        config.limits.login_per_minute = 1;
    })
    .await;
    let service = app.service(&[]).await;
    for _ in 0..20 {
        app.introspect(&service, "x").await.assert_status(200);
    }
    let stranger = Client { id: service.id.clone(), secret: "guess".into() };
    for _ in 0..5 {
        app.introspect(&stranger, "x").await.assert_oauth(401, "invalid_client");
    }
    let refused = app.introspect(&stranger, "x").await;
    let refused = refused.assert_oauth(429, "temporarily_unavailable");
    assert!(refused.header("retry-after").is_some());
    app.introspect(&service, "x").await.assert_status(200);
}

// Introspection.

#[tokio::test]
async fn an_access_token_is_described_by_its_own_claims() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let service = app.service(&[]).await;
    let known = assert_active(&app, &service, &user.tokens.access).await;
    let mut expected = claims(&user.tokens.access);
    expected["active"] = json!(true);
    expected["token_type"] = json!("Bearer");
    assert_eq!(known, expected);
    let shop = app.public_client().await;
    let tokens = app.log_in_to(&shop, &user.email).await.tokens();
    assert_eq!(assert_active(&app, &service, &tokens.access).await["client_id"], shop.id);
    for hint in ["access_token", "refresh_token", "urn:other"] {
        let hinted = [("token", user.tokens.access.as_str()), ("token_type_hint", hint)];
        let answer = form(&app, "/introspect", &hinted).client(&service).send().await;
        assert_eq!(answer.body["active"], true, "{hint}");
    }
}

#[tokio::test]
async fn a_refresh_token_is_active_as_long_as_a_refresh_would_take_it() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let service = app.service(&[]).await;
    let first = user.tokens.refresh.clone();
    let known = assert_active(&app, &service, &first).await;
    let began = claims(&user.tokens.access)["iat"].as_i64().unwrap();
    let expected = json!({
        "active": true, "iss": ISSUER, "sub": user.id, "client_id": "doorward",
        "sid": user.tokens.session, "iat": began, "exp": began + 30 * 24 * 60 * 60,
    });
    assert_eq!(known, expected);

    user.refresh().await.assert_status(200);
    assert_active(&app, &service, &first).await;
    app.advance(60);
    // Forgiven once, if it were used.
    assert_active(&app, &service, &first).await;
    user.refresh().await.assert_status(200);
    app.advance(60);
    assert_inactive(app.introspect(&service, &first).await);
    // To ask is not to use.
    assert_active(&app, &service, &user.tokens.refresh).await;
    app.me(&user.tokens.access).await.assert_status(200);
}

#[tokio::test]
async fn inactive_tokens_reveal_nothing() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let user = app.signed_up().await;
    let (access, refresh) = (&user.tokens.access, &user.tokens.refresh);
    let mut tokens: Vec<String> = [
        "x",
        "dwr_",
        "dws_nothing",
        "a.b.c",
        "..",
        "eyJhbGciOiJub25lIn0.e30.",
        &service.secret,
        &user.tokens.session,
        &format!("{refresh}A"),
        &refresh[..refresh.len() - 1],
        &format!("{access}A"),
        &access[..access.len() - 4],
        &format!("Bearer {access}"),
        &"x".repeat(60_000),
    ]
    .map(str::to_owned)
    .to_vec();
    // Another issuer's.
    let other = TestApp::with(|config| config.public_url = "http://other.test".into()).await;
    let stranger = other.signed_up().await;
    tokens.extend([stranger.tokens.access.clone(), stranger.tokens.refresh.clone()]);
    for token in tokens {
        assert_inactive(app.introspect(&service, &token).await);
    }

    let ends: [(&str, End); 3] = [
        ("logout", |user| user.app.post("/logout").bearer(&user.tokens.access)),
        ("ended from the list", |user| {
            let path = format!("/sessions/{}", user.tokens.session);
            user.app.call("DELETE", &path).bearer(&user.tokens.access)
        }),
        ("closed", |user| {
            let body = json!({ "password": crate::support::PASSWORD });
            user.app.post("/me/close").bearer(&user.tokens.access).json(&body)
        }),
    ];
    for (what, end) in ends {
        let user = app.signed_up().await;
        assert_active(&app, &service, &user.tokens.access).await;
        assert_active(&app, &service, &user.tokens.refresh).await;
        let ended = end(&user).send().await;
        assert!(ended.status < 300, "{what}: {}", ended.text);
        assert_inactive(app.introspect(&service, &user.tokens.access).await);
        assert_inactive(app.introspect(&service, &user.tokens.refresh).await);
    }

    let disabled = app.signed_up().await;
    app.api.accounts.disable(id(&disabled.id)).await.unwrap();
    assert_inactive(app.introspect(&service, &disabled.tokens.access).await);
    assert_inactive(app.introspect(&service, &disabled.tokens.refresh).await);

    app.advance(600);
    assert_inactive(app.introspect(&service, access).await);
    assert_active(&app, &service, refresh).await;
    app.advance(31 * 24 * 60 * 60);
    assert_inactive(app.introspect(&service, refresh).await);
}

#[tokio::test]
async fn unknown_status_is_not_reported() {
    let app = TestApp::with(|config| config.revocations.max_staleness = Duration::ZERO).await;
    let user = app.signed_up().await;
    let service = app.service(&[]).await;
    let answer = app.introspect(&service, &user.tokens.access).await;
    let answer = answer.assert_oauth(503, "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some());
    // What needs no list is known.
    assert_inactive(app.introspect(&service, "x").await);
    assert_active(&app, &service, &user.tokens.refresh).await;
}

// Revocation.

#[tokio::test]
async fn a_revoked_refresh_token_ends_its_session_and_every_access_token_of_it() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let service = app.service(&[]).await;
    let old = user.tokens.clone();
    user.refresh().await.assert_status(200);
    let kept = user.another_session().await;
    // Any of its generations will do.
    let answer = revoke(&app, &old.refresh).await.assert_status(200);
    assert_eq!(answer.text, "");
    for access in [&old.access, &user.tokens.access] {
        app.me(access).await.assert_problem(401, "token_revoked");
        assert_inactive(app.introspect(&service, access).await);
    }
    app.refresh(&user.tokens.refresh).await.assert_ended("logout");
    app.me(&kept.access).await.assert_status(200);
    revoke(&app, &old.refresh).await.assert_status(200);
    let (access, refresh) = (user.tokens.access.clone(), user.tokens.refresh.clone());
    let app = app.restart().await;
    app.me(&access).await.assert_problem(401, "token_revoked");
    app.refresh(&refresh).await.assert_ended("logout");
}

#[tokio::test]
async fn a_revoked_access_token_ends_alone() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let sibling = app.refresh(&user.tokens.refresh).await.tokens();
    for hint in ["access_token", "refresh_token", "urn:other"] {
        let hinted = [("token", user.tokens.access.as_str()), ("token_type_hint", hint)];
        form(&app, "/revoke", &hinted).send().await.assert_status(200);
    }
    app.me(&user.tokens.access).await.assert_problem(401, "token_revoked");
    app.me(&sibling.access).await.assert_status(200);
    app.refresh(&sibling.refresh).await.assert_status(200);
    let service = app.service(&["a"]).await;
    let machine = machine_token(&app, &service).await.body["access_token"].clone();
    let machine = machine.as_str().unwrap();
    form(&app, "/revoke", &[("token", machine)]).client(&service).send().await.assert_status(200);
    assert_inactive(app.introspect(&service, machine).await);
    let access = user.tokens.access.clone();
    let app = app.restart().await;
    app.me(&access).await.assert_problem(401, "token_revoked");
    assert_inactive(app.introspect(&service, machine).await);
}

#[tokio::test]
async fn a_client_cannot_revoke_another_clients_token() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, service) = (app.public_client().await, app.service(&["a"]).await);
    let tokens = app.log_in_to(&shop, &user.email).await.tokens();
    let machine = machine_token(&app, &service).await.body["access_token"].clone();
    for token in [&tokens.access, &tokens.refresh, machine.as_str().unwrap()] {
        revoke(&app, token).await.assert_oauth(400, "invalid_grant");
        let named = [("token", token), ("client_id", "doorward")];
        form(&app, "/revoke", &named).send().await.assert_oauth(400, "invalid_grant");
        let unknown = [("token", token), ("client_id", "nobody")];
        form(&app, "/revoke", &unknown).send().await.assert_oauth(400, "invalid_client");
        assert_active(&app, &service, token).await;
    }
    let proven = form(&app, "/revoke", &[("token", &tokens.refresh)]).client(&service);
    proven.send().await.assert_oauth(400, "invalid_grant");
    // Its id alone is no proof.
    let named = [("token", machine.as_str().unwrap()), ("client_id", &service.id)];
    form(&app, "/revoke", &named).send().await.assert_oauth(400, "invalid_client");
    assert_active(&app, &service, machine.as_str().unwrap()).await;
    app.me(&tokens.access).await.assert_status(200);
    let own = [("token", tokens.refresh.as_str()), ("client_id", &shop.id)];
    form(&app, "/revoke", &own).send().await.assert_status(200);
    app.me(&tokens.access).await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn revoking_an_invalid_token_succeeds_without_effect() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (access, refresh) = (&user.tokens.access, &user.tokens.refresh);
    for token in [
        "x",
        "dwr_",
        "a.b.c",
        &user.tokens.session,
        &format!("{refresh}A"),
        &refresh[..refresh.len() - 1],
        &access[..access.len() - 4],
    ] {
        assert_eq!(revoke(&app, token).await.assert_status(200).text, "", "{token}");
        let unknown = [("token", token), ("client_id", "nobody")];
        form(&app, "/revoke", &unknown).send().await.assert_oauth(400, "invalid_client");
    }
    app.me(access).await.assert_status(200);
    app.refresh(refresh).await.assert_status(200);
    app.advance(600);
    revoke(&app, access).await.assert_status(200);
    revoke(&app, "").await.assert_oauth(400, "invalid_request");
}

// What all of them have.

#[tokio::test]
async fn every_refusal_of_these_endpoints_has_the_form_of_rfc_6749() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    for path in ENDPOINTS {
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = app.call(method, path).send().await;
            let answer = answer.assert_oauth(405, "invalid_request");
            assert_eq!(answer.header("allow"), Some("POST"), "{method} {path}");
        }
        let post = || app.post(path).client(&service);
        for (media_type, body) in [
            ("application/json", r#"{"token":"x"}"#),
            ("text/plain", "token=x"),
            ("multipart/form-data; boundary=x", "--x--"),
            ("application/x-www-form-urlencoded; charset=utf-16", "token=x"),
            ("application/x-www-form-urlencoded, application/json", "token=x"),
        ] {
            let answer = post().body(media_type, body).send().await;
            answer.assert_oauth(415, "invalid_request");
        }
        let media_type = "application/x-www-form-urlencoded";
        let zipped = post().header("content-encoding", "gzip").body(media_type, "token=x");
        zipped.send().await.assert_oauth(415, "invalid_request");
        for query in ["token=x", "client_secret=x", "refresh_token=x", "client_assertion=x"] {
            for method in ["GET", "POST"] {
                let call = app.call(method, &format!("{path}?{query}"));
                call.send().await.assert_oauth(400, "invalid_request");
            }
        }
        let long = app.post(&format!("{path}?{}", "x".repeat(10_000))).send().await;
        long.assert_oauth(414, "invalid_request");
        let short = post().header("idempotency-key", "short").form(&[("token", "x")]).send().await;
        assert!([200, 400].contains(&short.status) && short.body.get("code").is_none());
    }
    // In UTF-8 it is what it is.
    let spelled = "application/x-www-form-urlencoded; charset=UTF-8";
    let answer = app.post("/introspect").client(&service).body(spelled, "token=x").send().await;
    assert_inactive(answer);
}

#[tokio::test]
async fn the_metadata_lists_the_endpoints() {
    let app = TestApp::with(|config| config.public_url = "https://login.example.com".into()).await;
    let metadata = app.get("/.well-known/oauth-authorization-server").send().await;
    let base = "https://login.example.com";
    let any = ["client_secret_basic", "client_secret_post", "none"];
    assert_eq!(
        metadata.assert_status(200).body,
        json!({
            "issuer": base,
            "jwks_uri": format!("{base}/.well-known/jwks.json"),
            "token_endpoint": format!("{base}/token"),
            "introspection_endpoint": format!("{base}/introspect"),
            "revocation_endpoint": format!("{base}/revoke"),
            "response_types_supported": [],
            "grant_types_supported": ["refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": any,
            "introspection_endpoint_auth_methods_supported": any[..2],
            "revocation_endpoint_auth_methods_supported": any,
            "service_documentation": format!("{base}/openapi.yaml"),
            "doorward_revocations_endpoint": format!("{base}/revocations"),
        })
    );
}

#[tokio::test]
async fn a_scope_requested_twice_is_granted_once() {
    let app = TestApp::start().await;
    let service = app.service(&["read", "write"]).await;
    let scope = ["read"; 50].join(" ");
    let grant = [("grant_type", "client_credentials"), ("scope", scope.as_str())];
    let answer = form(&app, "/token", &grant).client(&service).send().await.assert_status(200);
    assert_eq!(answer.body["scope"], "read");
    assert_active(&app, &service, answer.body["access_token"].as_str().unwrap()).await;
}
