//! Requests of every kind, good ones and malformed ones.

use std::process::Command;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::binary::{Doorward, printed};
use crate::support::jar::Jar;
use crate::support::{Client, Tokens};

use super::program::by_the_operator;
use super::secrets::Secrets;
use super::{NEW_PASSWORD, PASSWORD, Requests, STRAY, WRONG_PASSWORD};

/// A request of every kind, valid and invalid; returns their number.
pub async fn everything(
    service: &Doorward,
    program: &impl Fn() -> Command,
    email: &str,
    secrets: &mut Secrets,
) -> usize {
    let mut all = Requests { service, sent: 0 };
    let client = |arguments: &[&str]| -> Client {
        let added = printed(program().args(["client", "add", "--json", "--name"]).args(arguments));
        let added: Value = serde_json::from_str(&added).unwrap();
        let text = |name: &str| added[name].as_str().unwrap_or_default().to_owned();
        Client { id: text("client_id"), secret: text("client_secret") }
    };
    let machine = client(&["Orders", "--scope", "read"]);
    secrets.client(&machine);

    all.json("/register", json!({ "email": email, "password": PASSWORD })).await.assert_status(201);
    all.json("/register", json!({ "email": email, "password": PASSWORD })).await.assert_status(409);
    all.json("/register", json!({ "email": STRAY, "password": STRAY })).await.assert_status(422);
    all.log_in(email, WRONG_PASSWORD).await.assert_status(401);
    all.log_in("nobody@example.com", WRONG_PASSWORD).await.assert_status(401);
    // A user who confuses the fields.
    all.log_in(PASSWORD, email).await.assert_status(401);

    rotation(&mut all, email, secrets).await;
    account(&mut all, email, secrets).await;
    cookies(&mut all, email, secrets).await;
    let tokens = oauth(&mut all, &machine, email, secrets).await;
    malformed(&mut all, &tokens, email).await;
    by_the_operator(&mut all, program, email, secrets).await;
    all.sent
}

/// Rotation, replay and reuse.
async fn rotation(all: &mut Requests<'_>, email: &str, secrets: &mut Secrets) {
    let service = all.service;
    let mut tokens = all.log_in(email, PASSWORD).await.tokens();
    let first = tokens.clone();
    for _ in 0..2 {
        secrets.tokens(&tokens);
        let call = all.post("/refresh").json(&json!({ "refresh_token": tokens.refresh }));
        tokens = all.send(call).await.tokens();
    }
    secrets.tokens(&tokens);
    secrets.tokens(&all.refresh(&tokens.refresh).await.tokens());
    secrets.tokens(&all.refresh(&tokens.refresh).await.tokens());
    all.refresh(&first.refresh).await.assert_ended("refresh_token_reused");
    all.refresh(&first.refresh).await.assert_status(401);
    let forged = format!("{}x", &first.refresh[..first.refresh.len() - 1]);
    all.refresh(&forged).await.assert_status(401);
    let me = |token: &str| service.get("/me").bearer(token);
    all.send(me(&tokens.access)).await.assert_status(401);
    all.send(me(&tokens.refresh)).await.assert_status(401);
    all.send(me(STRAY)).await.assert_status(401);
}

/// One's own account, and a change of its password.
async fn account(all: &mut Requests<'_>, email: &str, secrets: &mut Secrets) {
    let service = all.service;
    let tokens = all.log_in(email, PASSWORD).await.tokens();
    secrets.tokens(&tokens);
    all.send(service.get("/me").bearer(&tokens.access)).await.assert_status(200);
    for path in ["/sessions", "/me/activity", "/verify"] {
        all.send(service.get(path).bearer(&tokens.access)).await.assert_status(200);
    }
    let change = |present: &str, new: &str| {
        let body = json!({ "current_password": present, "new_password": new });
        service.call("POST", "/me/password").bearer(&tokens.access).json(&body)
    };
    all.send(change(WRONG_PASSWORD, NEW_PASSWORD)).await.assert_status(403);
    all.send(change(PASSWORD, "short")).await.assert_status(422);
    let tokens = all.send(change(PASSWORD, NEW_PASSWORD)).await.tokens();
    secrets.tokens(&tokens);
    all.send(service.call("POST", "/logout").bearer(&tokens.access)).await.assert_status(204);
    all.json("/logout", json!({ "refresh_token": tokens.refresh })).await.assert_status(204);
}

/// A session of cookies.
async fn cookies(all: &mut Requests<'_>, email: &str, secrets: &mut Secrets) {
    let service = all.service;
    let login = json!({ "email": email, "password": NEW_PASSWORD, "transport": "cookie" });
    let call = all.post("/login").header("sec-fetch-site", "same-origin").json(&login);
    let mut jar = Jar::default();
    jar.keep(&all.send(call).await.assert_status(200));
    secrets.jar(&jar);
    let answer = all.send(jar.own(service.call("POST", "/refresh"))).await.assert_status(200);
    let spent = jar.clone();
    jar.keep(&answer);
    secrets.jar(&jar);
    all.send(jar.own(service.get("/me"))).await.assert_status(200);
    let foreign = service.call("POST", "/refresh").header("cookie", &jar.field());
    all.send(foreign.header("sec-fetch-site", "cross-site")).await.assert_status(403);
    all.send(jar.own(service.call("POST", "/logout"))).await.assert_status(204);
    all.send(spent.own(service.call("POST", "/refresh"))).await.assert_status(401);
}

/// The endpoints of OAuth; the tokens of a session that they ended.
async fn oauth(
    all: &mut Requests<'_>,
    machine: &Client,
    email: &str,
    secrets: &mut Secrets,
) -> Tokens {
    let tokens = all.log_in(email, NEW_PASSWORD).await.tokens();
    secrets.tokens(&tokens);
    let own = all.form("/token", Some(machine), &[("grant_type", "client_credentials")]).await;
    secrets.access(own.assert_status(200).body["access_token"].as_str().unwrap());
    let grant = [("grant_type", "refresh_token"), ("refresh_token", &*tokens.refresh)];
    let answer = all.form("/token", None, &grant).await.assert_status(200);
    secrets.access(answer.body["access_token"].as_str().unwrap());
    secrets.refresh(answer.body["refresh_token"].as_str().unwrap());
    for token in [tokens.access.as_str(), &tokens.refresh, STRAY] {
        all.form("/introspect", Some(machine), &[("token", token)]).await.assert_status(200);
    }
    let impostor = Client { secret: format!("{}x", &machine.secret[..40]), ..machine.clone() };
    all.form("/introspect", Some(&impostor), &[("token", "x")]).await.assert_status(401);
    let swapped = Client { id: machine.secret.clone(), secret: machine.id.clone() };
    all.form("/introspect", Some(&swapped), &[("token", "x")]).await.assert_status(401);
    let post = [("client_id", &*machine.id), ("client_secret", &*machine.secret), ("token", "x")];
    all.form("/introspect", None, &post).await.assert_status(200);
    all.form("/revoke", None, &[("token", &tokens.access)]).await.assert_status(200);
    all.form("/revoke", None, &[("token", &tokens.refresh)]).await.assert_status(200);
    tokens
}

/// Malformed requests, with secrets in the wrong places.
async fn malformed(all: &mut Requests<'_>, tokens: &Tokens, email: &str) {
    let service = all.service;
    let json = "application/json";
    for body in [
        format!(r#"{{"email":"{email}","password":"{STRAY}""#),
        format!(r#"{{"email":"{email}","password":"{STRAY}","{STRAY}":1}}"#),
        format!(r#"{{"email":["{STRAY}"],"password":"{STRAY}"}}"#),
        format!(r#"{{"email":"{email}","password":{{"{STRAY}":1}}}}"#),
        format!(r#"{{"email":"{email}","password":"{STRAY}","password":"{STRAY}"}}"#),
        format!(r#"{{"email":"{email}","password":"{STRAY}","transport":"{STRAY}"}}"#),
        format!(r#""{STRAY}""#),
    ] {
        let call = all.post("/login").body(json, body);
        all.send(call).await.assert_problem(400, "malformed_request");
    }
    let form = format!("email={email}&password={STRAY}");
    all.send(all.post("/login").body("application/x-www-form-urlencoded", form)).await;
    all.send(all.post("/login").body(STRAY, STRAY)).await.assert_status(415);
    let access = &tokens.access;
    let query = format!("/me?access_token={access}");
    all.send(service.get(&query)).await.assert_problem(400, "token_in_query");
    let query = format!("/me?password={}", STRAY.replace(' ', "%20"));
    all.send(service.get(&query).bearer(access)).await;
    let path = format!("/{access}/{}", tokens.refresh);
    all.send(service.get(&path)).await.assert_status(404);
    let path = format!("/sessions/{}", tokens.refresh);
    all.send(service.call("DELETE", &path).bearer(access)).await;
    all.send(service.call("GET", "/login").header("authorization", STRAY)).await;
    let twice = service.get("/me").bearer(access).header("cookie", &format!("a={STRAY}"));
    all.send(twice.header("authorization", "Basic eDp5")).await.assert_status(400);
    // Not an HTTP request; it has a log line as well.
    all.sent += 1;
    let mut stream =
        TcpStream::connect(service.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!("GET /me HTTP/1.1\r\nauthorization: Bearer {access}\r\n{STRAY}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let huge = format!("{STRAY}{}", " ".repeat(100_000));
    all.send(all.post("/login").body(json, huge)).await.assert_status(413);
    let call = all.post("/refresh").header("idempotency-key", "short");
    all.send(call.json(&serde_json::json!({ "refresh_token": tokens.refresh }))).await;
}
