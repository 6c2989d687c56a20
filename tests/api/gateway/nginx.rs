//! The documented nginx configuration, run by nginx.

use std::net::SocketAddr;
use std::path::Path;

use doorward::config::Registration;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::client::PASSWORD;
use crate::support::jar::{HTTPS, Jar};
use crate::support::nginx::Nginx;
use crate::support::program::{find, free_port};
use crate::support::{TestApp, User, docs};

use super::{FORGED, IDENTITY, application, assert_one_spelling};

/// nginx with the documented configuration, between a client and an application.
struct Gateway {
    url: String,
    http: reqwest::Client,
    _nginx: Nginx,
}

impl Gateway {
    async fn start(nginx: &Path, doorward: SocketAddr) -> Self {
        let application = application().await;
        let block = docs::block("docs/forward-auth.md", "# Doorward under /auth/");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let server = block.replace("listen 443 ssl;", &format!("listen {address};"));
        let plain = |line: &&str| !line.trim_start().starts_with("ssl_");
        let server = server.lines().filter(plain).collect::<Vec<_>>().join("\n");
        let lines = format!(
            "upstream doorward {{ server {doorward}; }}\n\
             upstream application {{ server {application}; }}\n{server}\n"
        );
        let nginx = Nginx::start(nginx, &lines, address).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url: format!("http://{address}"), http, _nginx: nginx }
    }

    async fn ask(&self, method: Method, headers: &[(&str, &str)]) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}/orders?of=today", self.url));
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.body("an order").send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

#[track_caller]
fn assert_identity(seen: &Value, user: &User<'_>, session: &str) {
    assert_one_spelling(seen);
    let told = IDENTITY.map(|name| seen[name].as_str());
    let expected = [Some(&*user.id), Some(session), Some("doorward"), None, None];
    assert_eq!(told, expected, "{seen}");
    assert_eq!((&seen["authorization"], &seen["cookie"]), (&Value::Null, &Value::Null), "{seen}");
}

#[tokio::test]
async fn nginx_asks_before_it_lets_a_request_pass() {
    let Some([nginx]) = find(["nginx"], "nginx-light") else { return };
    let app = TestApp::with(|config| config.public_url = format!("{HTTPS}/auth")).await;
    let gateway = Gateway::start(&nginx, app.address).await;
    let user = app.signed_up().await;
    let bearer = format!("Bearer {}", user.tokens.access);

    for headers in [&[][..], &FORGED, &[("authorization", "Bearer eyJ")]] {
        let (status, _) = gateway.ask(Method::GET, headers).await;
        assert_eq!(status, 401, "{headers:?}");
    }
    let refused = gateway.http.get(&gateway.url).send().await.unwrap();
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.starts_with("Bearer "), "{challenge}");

    for method in [Method::GET, Method::POST, Method::DELETE] {
        let headers = [&FORGED[..], &[("authorization", &*bearer)]].concat();
        let (status, seen) = gateway.ask(method.clone(), &headers).await;
        assert_eq!(status, 200, "{seen}");
        assert_identity(&seen, &user, &user.tokens.session);
        assert_eq!(seen["request"], format!("{method} /orders?of=today HTTP/1.1"));
    }

    // A preflight has no credentials, and passes without an identity. Nothing else passes.
    let preflight =
        [("origin", "https://app.example.com"), ("access-control-request-method", "PUT")];
    let claimed = [("x-original-method", "OPTIONS"), ("x-forwarded-method", "OPTIONS")];
    let headers = [&FORGED[..], &preflight, &claimed].concat();
    let (status, seen) = gateway.ask(Method::OPTIONS, &headers).await;
    assert_eq!(status, 200, "{seen}");
    assert_eq!(IDENTITY.map(|name| seen[name].as_str()), [None; 5], "{seen}");
    assert_one_spelling(&seen);
    for (method, headers) in
        [(Method::POST, &headers[..]), (Method::GET, &headers), (Method::OPTIONS, &FORGED)]
    {
        assert_eq!(gateway.ask(method, headers).await.0, 401);
    }

    // Only nginx can reach the verdict itself.
    let inside = gateway.http.get(format!("{}/-/verify", gateway.url)).bearer_auth("x");
    assert_eq!(inside.send().await.unwrap().status(), 404);

    user.log_out().await.assert_status(204);
    let (status, _) = gateway.ask(Method::GET, &[("authorization", &bearer)]).await;
    assert_eq!(status, 401, "the next request after the logout");
}

#[tokio::test]
async fn nginx_lets_a_foreign_page_send_nothing_with_cookies() {
    let Some([nginx]) = find(["nginx"], "nginx-light") else { return };
    let app = TestApp::with(|config| config.public_url = format!("{HTTPS}/auth")).await;
    let gateway = Gateway::start(&nginx, app.address).await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    let field = jar.field();
    let cookie = ("cookie", &*field);
    let (same, cross) = (("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site"));

    for (method, page, forged, expected) in [
        (Method::GET, cross, "GET", 200),
        (Method::GET, same, "GET", 200),
        (Method::POST, same, "POST", 200),
        (Method::POST, cross, "POST", 403),
        // The client's claim about the method is ignored.
        (Method::POST, cross, "GET", 403),
        (Method::DELETE, cross, "GET", 403),
    ] {
        let headers = [cookie, page, ("x-original-method", forged), ("x-forwarded-method", forged)];
        let (status, seen) = gateway.ask(method.clone(), &headers).await;
        assert_eq!(status, expected, "{method} {page:?} {seen}");
        if status == 200 {
            assert_eq!(seen["x-auth-user"], user.id);
            assert_eq!(seen["cookie"], Value::Null);
        }
    }

    // The page's own requests to Doorward, and the logout.
    let path = |path: &str| format!("{}/auth{path}", gateway.url);
    let own = |request: reqwest::RequestBuilder| {
        request.header("cookie", &field).header("sec-fetch-site", "same-origin").send()
    };
    assert_eq!(own(gateway.http.get(path("/me"))).await.unwrap().status(), 200);
    assert_eq!(own(gateway.http.post(path("/logout"))).await.unwrap().status(), 204);
    let (status, _) = gateway.ask(Method::GET, &[cookie, same]).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn nginx_answers_503_while_revocation_status_is_unknown() {
    let Some([nginx]) = find(["nginx"], "nginx-light") else { return };
    let stale =
        TestApp::with(|config| config.revocations.max_staleness = std::time::Duration::ZERO).await;
    let gateway = Gateway::start(&nginx, stale.address).await;
    let user = stale.signed_up().await;
    let request = gateway.http.get(&gateway.url).bearer_auth(&user.tokens.access);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
}

#[tokio::test]
async fn nginx_lets_nobody_register_where_the_settings_close_registration() {
    let Some([nginx]) = find(["nginx"], "nginx-light") else { return };
    let closed = docs::block("docs/forward-auth.md", "[accounts]\n");
    assert_eq!(closed, "[accounts]\nregistration = \"closed\"\n");
    let app = TestApp::with(|config| config.accounts.registration = Registration::Closed).await;
    let gateway = Gateway::start(&nginx, app.address).await;
    let new = json!({ "email": "ada@example.com", "password": PASSWORD });
    let asked = gateway.http.post(format!("{}/auth/register", gateway.url));
    let asked = asked.header("content-type", "application/json").body(new.to_string());
    assert_eq!(asked.send().await.unwrap().status(), 403);
}
