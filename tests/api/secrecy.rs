//! Nothing secret is logged, at any level: a wide range of requests against the real program that
//! logs all that it and its libraries can say.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use diesel::prelude::*;
use doorward::database::schema::users;
use doorward::database::{AnyConnection, Database, DatabaseSettings, DatabaseUrl};
use doorward::secret::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::app::SECRET;
use crate::support::binary::{Doorward, data_of, database_of, printed, unlimited};
use crate::support::client::{Answer, Call};
use crate::support::jar::{HTTPS, Jar};
use crate::support::{Client, Tokens};

// Not the one that the welcome shows as an example.
const PASSWORD: &str = "twelve geese inspect the ferry";
const NEW_PASSWORD: &str = "eight walnuts paint the harbour";
const WRONG_PASSWORD: &str = "nine badgers polish trombones";
const OPERATORS: &str = "ten herons varnish the piano";
const STRAY: &str = "eleven moles dust the chandelier";
const KEY: &str = "an-idempotency-key-of-the-tests-own";

/// A piece of a secret this long gives it away.
const PIECE: usize = 12;

/// What must not be found, whole or in pieces.
#[derive(Default)]
struct Secrets {
    /// Text that may be a part of something else only when it is this text.
    whole: Vec<String>,
    /// Random text, every piece of which counts.
    random: Vec<String>,
}

impl Secrets {
    fn password(&mut self, password: &str) {
        let encoded: String = url::form_urlencoded::byte_serialize(password.as_bytes()).collect();
        self.whole.extend([password.to_owned(), encoded, STANDARD.encode(password)]);
    }

    fn random(&mut self, text: &str) {
        self.random.push(text.to_owned());
    }

    /// The parts of a JWT but its header, which is the same for all and names the key.
    fn access(&mut self, token: &str) {
        self.whole.push(token.to_owned());
        for part in token.split('.').skip(1) {
            self.random(part);
        }
    }

    fn tokens(&mut self, tokens: &Tokens) {
        self.access(&tokens.access);
        self.refresh(&tokens.refresh);
    }

    fn refresh(&mut self, token: &str) {
        self.random(token);
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("dwr_").unwrap()).unwrap();
        // Behind the version, the session's id and the generation, which are none.
        self.bytes(&bytes[21..]);
    }

    /// Bytes, however somebody might write them.
    fn bytes(&mut self, bytes: &[u8]) {
        self.random(&STANDARD.encode(bytes));
        self.random(&URL_SAFE_NO_PAD.encode(bytes));
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.random(&hex.concat());
        let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
        self.whole.push(list[..8].join(", "));
    }

    fn client(&mut self, client: &Client) {
        self.random(&client.secret);
        self.whole.push(STANDARD.encode(format!("{}:{}", client.id, client.secret)));
    }

    fn jar(&mut self, jar: &Jar) {
        for (name, value) in &jar.0 {
            if name.contains("refresh") { self.refresh(value) } else { self.access(value) }
        }
    }

    /// The first line with a secret in it.
    fn found_in(&self, text: &str) -> Option<String> {
        let pieces = self.random.iter().flat_map(|it| it.as_bytes().windows(PIECE));
        let pieces: HashSet<&[u8]> = pieces.collect();
        let leaks = |line: &&str| {
            self.whole.iter().any(|secret| line.contains(secret))
                || line.as_bytes().windows(PIECE).any(|it| pieces.contains(it))
        };
        text.lines().find(leaks).map(str::to_owned)
    }
}

/// The requests that were sent: each has its line in the log.
struct Requests<'a> {
    service: &'a Doorward,
    sent: usize,
}

impl Requests<'_> {
    fn post(&self, path: &str) -> Call {
        self.service.call("POST", path)
    }

    async fn send(&mut self, call: Call) -> Answer {
        self.sent += 1;
        call.send().await
    }

    async fn json(&mut self, path: &str, body: Value) -> Answer {
        self.send(self.post(path).json(&body)).await
    }

    async fn log_in(&mut self, email: &str, password: &str) -> Answer {
        self.json("/login", json!({ "email": email, "password": password })).await
    }

    async fn refresh(&mut self, token: &str) -> Answer {
        let call = self.post("/refresh").header("idempotency-key", KEY);
        self.send(call.json(&json!({ "refresh_token": token }))).await
    }

    async fn form(&mut self, path: &str, client: Option<&Client>, form: &[(&str, &str)]) -> Answer {
        let call = self.post(path);
        let call = if let Some(client) = client { call.client(client) } else { call };
        self.send(call.form(form)).await
    }
}

#[tokio::test]
async fn nothing_secret_is_logged_at_any_level() {
    nothing_secret_is_logged("text").await;
}

#[tokio::test]
async fn nothing_secret_is_logged_as_json_at_any_level() {
    nothing_secret_is_logged("json").await;
}

async fn nothing_secret_is_logged(format: &str) {
    let home = tempfile::tempdir().unwrap();
    let program = || {
        let mut command = unlimited(home.path());
        command.env("DOORWARD_SESSIONS__RETRY_WINDOW", "0s").env("DOORWARD_LOG__LEVEL", "trace");
        command.env("DOORWARD_PUBLIC_URL", HTTPS).env("DOORWARD_LOG__FORMAT", format);
        command
    };
    let (service, began) = Doorward::start_and_said(&mut program());
    let mut secrets = Secrets::default();
    for password in [PASSWORD, NEW_PASSWORD, WRONG_PASSWORD, OPERATORS, STRAY] {
        secrets.password(password);
    }
    secrets.whole.push(KEY.to_owned());
    let sent = everything(&service, &program, "ada@example.com", &mut secrets).await;
    stored_secrets(home.path(), &mut secrets).await;

    let (status, stdout, log) = service.stop();
    assert!(status.success());
    // The log has room for so many lines and would drop others: none is missing here.
    assert_eq!(log.matches("answered").count(), sent, "{log}");
    assert!(log.contains("TRACE") && log.contains("session_ended"), "it logs little");
    assert_eq!(secrets.found_in(&(began + &log + &stdout)), None);
    let events = printed(program().args(["audit", "--limit", "1000", "--json"]));
    assert!(events.contains("refresh_token_reused"), "{events}");
    assert_eq!(secrets.found_in(&events), None);
}

/// A request of every kind, good and bad; how many those were.
async fn everything(
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
    // Who mistakes the fields.
    all.log_in(PASSWORD, email).await.assert_status(401);

    // Rotation, replay and reuse.
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

    // One's own account.
    let tokens = all.log_in(email, PASSWORD).await.tokens();
    secrets.tokens(&tokens);
    all.send(me(&tokens.access)).await.assert_status(200);
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

    // Cookies.
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

    // OAuth.
    let tokens = all.log_in(email, NEW_PASSWORD).await.tokens();
    secrets.tokens(&tokens);
    let own = all.form("/token", Some(&machine), &[("grant_type", "client_credentials")]).await;
    secrets.access(own.assert_status(200).body["access_token"].as_str().unwrap());
    let grant = [("grant_type", "refresh_token"), ("refresh_token", &*tokens.refresh)];
    let answer = all.form("/token", None, &grant).await.assert_status(200);
    secrets.access(answer.body["access_token"].as_str().unwrap());
    secrets.refresh(answer.body["refresh_token"].as_str().unwrap());
    for token in [tokens.access.as_str(), &tokens.refresh, STRAY] {
        all.form("/introspect", Some(&machine), &[("token", token)]).await.assert_status(200);
    }
    let impostor = Client { secret: format!("{}x", &machine.secret[..40]), ..machine.clone() };
    all.form("/introspect", Some(&impostor), &[("token", "x")]).await.assert_status(401);
    let swapped = Client { id: machine.secret.clone(), secret: machine.id.clone() };
    all.form("/introspect", Some(&swapped), &[("token", "x")]).await.assert_status(401);
    let post = [("client_id", &*machine.id), ("client_secret", &*machine.secret), ("token", "x")];
    all.form("/introspect", None, &post).await.assert_status(200);
    all.form("/revoke", None, &[("token", &tokens.access)]).await.assert_status(200);
    all.form("/revoke", None, &[("token", &tokens.refresh)]).await.assert_status(200);

    malformed(&mut all, &tokens, email).await;
    by_the_operator(&mut all, program, email, secrets).await;
    all.sent
}

/// Requests that cannot be understood, with secrets where they do not belong.
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
    // No request at all; it has a line all the same.
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

/// What the command line does meanwhile.
async fn by_the_operator(
    all: &mut Requests<'_>,
    program: &impl Fn() -> Command,
    email: &str,
    secrets: &mut Secrets,
) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), OPERATORS).unwrap();
    printed(program().args(["user", "set-password", email, "--password-file"]).arg(file.path()));
    let tokens = all.log_in(email, OPERATORS).await.tokens();
    secrets.tokens(&tokens);
    let keys: Value = serde_json::from_str(&printed(program().args(["key", "list", "--json"])))
        .expect("a list of keys");
    printed(program().args(["key", "rotate"]));
    let kid = keys[0]["kid"].as_str().unwrap();
    printed(program().args(["key", "revoke", kid]));
    let call = all.post("/refresh").json(&json!({ "refresh_token": tokens.refresh }));
    let tokens = all.send(call).await.tokens();
    secrets.tokens(&tokens);
    printed(program().args(["user", "disable", email]));
    all.refresh(&tokens.refresh).await.assert_ended("account_disabled");
}

/// The master secret, and the hashes of passwords.
async fn stored_secrets(home: &Path, secrets: &mut Secrets) {
    let master = match database_of(home) {
        Some(_) => SECRET.to_owned(),
        None => fs::read_to_string(data_of(home).join("secret")).unwrap(),
    };
    let master = master.trim();
    secrets.random(master);
    secrets.bytes(&URL_SAFE_NO_PAD.decode(master.trim_end_matches('=')).unwrap());
    let file = || format!("sqlite://{}", data_of(home).join("doorward.db").display());
    let url = DatabaseUrl::parse(&Secret::new(database_of(home).unwrap_or_else(file))).unwrap();
    let db = Database::open(&DatabaseSettings {
        url,
        pool_size: 1,
        statement_timeout: std::time::Duration::from_secs(2),
        migrate: false,
    })
    .unwrap();
    let hashes = |c: &mut AnyConnection| users::table.select(users::password_hash).load(c);
    let hashes: Vec<String> = db.read(hashes).await.unwrap();
    assert!(!hashes.is_empty());
    for hash in hashes {
        // Salt and hash; before them stand the parameters.
        hash.rsplit('$').take(2).for_each(|part| secrets.random(part));
    }
}

#[test]
fn a_secret_is_found_in_every_form() {
    let mut secrets = Secrets::default();
    secrets.password(PASSWORD);
    secrets.access("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLW9mLWl0");
    let family: Vec<u8> = (100..137).collect();
    let refresh = URL_SAFE_NO_PAD.encode([&[1; 21][..], &family].concat());
    secrets.refresh(&format!("dwr_{refresh}"));
    let machine = Client { id: "orders".into(), secret: "dws_abcdefghijklmnop".into() };
    secrets.client(&machine);
    let innocent = "INFO eyJhbGciOiJFUzI1NiJ9 dwr_ dws_ orders\ntwelve geese\ninspect the ferry";
    assert_eq!(secrets.found_in(innocent), None);
    for leak in [
        format!("x{PASSWORD}y"),
        PASSWORD.replace(' ', "+"),
        STANDARD.encode(PASSWORD),
        "bmF0dXJlLW9mLW".into(),
        format!("{:02x?}", &family[..8]).replace(", ", "").to_lowercase(),
        format!("{family:?}"),
        STANDARD.encode(&family),
        refresh[40..].to_owned(),
        STANDARD.encode("orders:dws_abcdefghijklmnop"),
        "cdefghijklmn".into(),
    ] {
        assert_eq!(secrets.found_in(&format!("a\nINFO {leak}\nb")), Some(format!("INFO {leak}")));
    }
}
