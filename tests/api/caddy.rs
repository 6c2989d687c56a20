//! The documented Caddy configuration, run by Caddy.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use crate::gateway::{FORGED, IDENTITY, application, assert_one_spelling};
use crate::support::jar::HTTPS;
use crate::support::program::{Program, find, free_port};
use crate::support::{TestApp, docs, until};

#[tokio::test]
async fn caddy_asks_before_it_lets_a_request_pass_and_strips_every_header_form() {
    let Some([caddy]) = find(["caddy"], "caddy") else { return };
    let app = TestApp::with(|config| config.public_url = format!("{HTTPS}/auth")).await;
    let caddy = Caddy::start(&caddy, app.address).await;
    let user = app.signed_up().await;
    caddy.strips_every_spelling(&app.http, &user.tokens.access, &user.id).await;
    let url = format!("http://{}/auth/login", caddy.address);
    assert_eq!(app.http.post(url).send().await.unwrap().status(), 415);
}

#[tokio::test]
async fn caddy_balances_between_nodes_and_avoids_a_missing_one() {
    let Some([caddy]) = find(["caddy"], "caddy") else { return };
    let app = TestApp::start().await;
    let block = docs::block("docs/deployment.md", "login.example.com {");
    let missing = format!("127.0.0.1:{}", free_port());
    let block = block.replace("10.0.0.11:8080", &app.address.to_string());
    let block = block.replace("10.0.0.12:8080", &missing);
    let caddy = Caddy::run(&caddy, &block, "login.example.com {").await;
    for _ in 0..4 {
        let url = format!("http://{}/healthz", caddy.address);
        assert_eq!(app.http.get(url).send().await.unwrap().status(), 200);
    }
}

/// Caddy with a documented configuration, for example in front of an application. It ends when this
/// is dropped.
pub struct Caddy {
    address: SocketAddr,
    // Ends before its directory is deleted.
    _program: Program,
    _home: tempfile::TempDir,
}

impl Caddy {
    pub async fn start(caddy: &Path, doorward: SocketAddr) -> Self {
        let application = application().await;
        let block = docs::block("docs/forward-auth.md", "example.com {");
        let block = block
            .replace("10.0.0.11:8080", &doorward.to_string())
            .replace("application:3000", &application.to_string());
        Self::run(caddy, &block, "example.com {").await
    }

    /// Runs it with this site, whose first line becomes a free port of this machine.
    async fn run(caddy: &Path, block: &str, site: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let block = block.replacen(site, &format!("http://{address} {{\nbind 127.0.0.1"), 1);
        let home = tempfile::tempdir().unwrap();
        let global = "{\nadmin off\nauto_https off\n}\n";
        let file = home.path().join("Caddyfile");
        fs::write(&file, format!("{global}{block}")).unwrap();
        let file = file.to_str().unwrap();
        let arguments = ["run", "--adapter", "caddyfile", "--config", file];
        let program = Program::start(caddy, &arguments, home.path());
        until(async || TcpStream::connect(address).is_ok()).await;
        Self { address, _program: program, _home: home }
    }

    /// Sends identity headers of another user, as an attacker would; the token is this user's.
    pub async fn strips_every_spelling(&self, http: &reqwest::Client, access: &str, user: &str) {
        let address = self.address;
        let bearer = format!("Bearer {access}");
        let preflight =
            [("origin", "https://app.example.com"), ("access-control-request-method", "PUT")];
        let claimed = [("x-original-method", "OPTIONS"), ("x-forwarded-method", "OPTIONS")];
        let known = [&FORGED[..], &[("authorization", &*bearer)]].concat();
        let stranger = [&FORGED[..], &preflight, &claimed].concat();
        for (method, headers, expected) in [
            (Method::GET, &known, 200),
            (Method::POST, &known, 200),
            (Method::OPTIONS, &[&FORGED[..], &preflight].concat(), 200),
            (Method::POST, &stranger, 401),
            (Method::GET, &FORGED.to_vec(), 401),
        ] {
            let request = http.request(method.clone(), format!("http://{address}/orders"));
            let request =
                headers.iter().fold(request, |it, (name, value)| it.header(*name, *value));
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), expected, "{method} {headers:?}");
            if expected == 200 {
                let seen: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
                assert_one_spelling(&seen);
                let told = seen["x-auth-user"].as_str().unwrap_or_default();
                let is_known = headers.contains(&("authorization", &*bearer));
                assert_eq!(told, if is_known { user } else { "" }, "{seen}");
                let others = IDENTITY.map(|name| seen[name].as_str().unwrap_or_default());
                assert!(!others.contains(&"admin"), "{seen}");
            }
        }
    }
}

#[tokio::test]
async fn a_preflight_passes_only_if_the_gateway_opts_in_and_names_its_method() {
    let app = TestApp::start().await;
    let ask = |query: &str, fields: &[(&str, &str)]| {
        let call = app.get(&format!("/verify{query}"));
        fields.iter().fold(call, |call, (name, value)| call.header(name, value)).send()
    };
    let (method, origin) = (("x-forwarded-method", "OPTIONS"), ("origin", "https://a.example"));
    let asked = ("access-control-request-method", "PUT");
    let passed = ask("?preflights=pass", &[method, origin, asked]).await.assert_status(200);
    for name in IDENTITY {
        assert_eq!(passed.header(name), Some(""), "{name}");
    }
    for (query, fields) in [
        ("", &[method, origin, asked][..]),
        ("?preflights=pass", &[origin, asked]),
        ("?preflights=pass", &[method, asked]),
        ("?preflights=pass", &[method, origin]),
        ("?preflights=pass", &[method, ("x-original-method", "POST"), origin, asked]),
    ] {
        ask(query, fields).await.assert_problem(401, "missing_token");
    }
    ask("?preflights=no", &[method, origin, asked]).await.assert_problem(400, "malformed_request");
}
