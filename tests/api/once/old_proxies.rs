//! HTTP/1.0, as nginx by default uses it to its upstreams.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::nginx::Nginx;
use crate::support::program::{find, free_port};
use crate::support::{PASSWORD, TestApp, raw};

#[tokio::test]
async fn a_post_of_http_1_0_without_a_length_has_no_body() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let bearer = format!("Authorization: Bearer {}", user.tokens.access);
    let request = format!("POST /logout HTTP/1.0\r\nHost: a\r\n{bearer}\r\n\r\n");
    raw::send(&app, &request).await.assert_status(204);
    user.me().await.assert_problem(401, "token_revoked");

    // Bytes after it are neither its body nor another request.
    let user = app.signed_up().await;
    let hidden = format!(
        "POST /logout HTTP/1.0\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
        user.tokens.access
    );
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    stream.write_all(b"POST /refresh HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
    let _ = stream.write_all(hidden.as_bytes()).await;
    let answer = raw::until_closed(&mut stream, Duration::from_secs(5)).await.expect("it closes");
    assert!(answer.matches("HTTP/1.").count() <= 1, "{answer}");
    user.me().await.assert_status(200);
}

#[tokio::test]
async fn a_feed_over_http_1_0_has_no_chunks() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let user = app.signed_up().await;
    let credentials = base64(&format!("{}:{}", service.id, service.secret));
    for connection in ["close", "keep-alive"] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        let request = format!(
            "GET /revocations HTTP/1.0\r\nHost: a\r\nAccept: text/event-stream\r\n\
             Connection: {connection}\r\nAuthorization: Basic {credentials}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("event: current") {
            let reading = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer));
            let read = reading.await.expect("an event").unwrap();
            assert!(read > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
        assert!(body.starts_with("event: "), "{body}");
    }
    user.me().await.assert_status(200);
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn nginx_with_its_default_configuration_works_as_a_proxy() {
    let Some([nginx]) = find(["nginx"], "nginx-light") else { return };
    let app = TestApp::start().await;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let lines = format!(
        "server {{ listen {address}; location / {{ proxy_pass http://{}; }} }}\n",
        app.address
    );
    let _nginx = Nginx::start(&nginx, &lines, address).await;
    let call = |path: &str| app.http.post(format!("http://{address}{path}"));
    let account = json!({ "email": "ada@example.com", "password": PASSWORD });
    assert_eq!(call("/register").json(&account).send().await.unwrap().status(), 201);
    let tokens = call("/login").json(&account).send().await.unwrap();
    let tokens: serde_json::Value = tokens.json().await.unwrap();
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), &tokens["refresh_token"]);
    let refreshed = call("/refresh").json(&json!({ "refresh_token": refresh })).send().await;
    assert_eq!(refreshed.unwrap().status(), 200);
    assert_eq!(call("/logout").bearer_auth(access).send().await.unwrap().status(), 204);
    app.me(access).await.assert_problem(401, "token_revoked");

    let service = app.service(&[]).await;
    let feed = app.http.get(format!("http://{address}/revocations"));
    let feed = feed.header("accept", "text/event-stream");
    let mut feed = feed.basic_auth(&service.id, Some(&service.secret)).send().await.unwrap();
    let mut text = String::new();
    while !text.contains("event: current") {
        let part = tokio::time::timeout(Duration::from_secs(10), feed.chunk()).await;
        let part = part.expect("an event").unwrap().expect("no end");
        text.push_str(&String::from_utf8_lossy(&part));
    }
    assert!(text.starts_with("event: snapshot"), "{text}");
}
