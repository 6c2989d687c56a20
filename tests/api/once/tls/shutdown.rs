//! The redirect from plain HTTP, and shutdown.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::binary::{Doorward, unlimited};
use crate::support::client::PASSWORD;
use crate::support::program::free_port;
use crate::support::{TestApp, until};

use super::{BOTH, Files, ISSUER, connect};

#[tokio::test]
async fn plain_http_is_redirected_to_the_public_url() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    files.issue();
    let port = free_port();
    let from = SocketAddr::from(([127, 0, 0, 1], port));
    let _app = TestApp::with(|config| {
        files.configure(config);
        config.public_url = "https://login.example.com:8443/auth".into();
        config.tls.http_redirect_listen = Some(from);
    })
    .await;
    let http = reqwest::Client::builder().no_proxy();
    let http = http.redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (method, path) in
        [("GET", "/auth/me?a=b"), ("POST", "/auth/login"), ("GET", "//evil.test/")]
    {
        let request = http.request(method.parse().unwrap(), format!("http://{from}{path}"));
        let answer = request.header("host", "evil.test").send().await.unwrap();
        assert_eq!(answer.status(), 308);
        let location = answer.headers()["location"].to_str().unwrap();
        assert_eq!(location, format!("https://login.example.com:8443{path}"));
    }
}

#[tokio::test]
async fn sigterm_completes_requests_over_tls() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let cert = files.issue();
    let mut command = files.command(unlimited(home.path()));
    let service = Doorward::start(command.env("DOORWARD_PUBLIC_URL", ISSUER));
    let address: SocketAddr = service.url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut idle = connect(address, std::slice::from_ref(&cert), BOTH, &[]).await.unwrap();
    let mut busy = connect(address, &[cert], BOTH, &[]).await.unwrap();
    let body = json!({ "email": "ada@example.com", "password": PASSWORD }).to_string();
    let head = format!(
        "POST /register HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    busy.flush().await.unwrap();
    service.signal(Signal::TERM);
    until(async || TcpStream::connect(address).await.is_err()).await;
    busy.write_all(body.as_bytes()).await.unwrap();
    busy.flush().await.unwrap();
    let mut answer = String::new();
    // Complete, and closed by TLS rules: anything else is an error.
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let mut nothing = Vec::new();
    let _ = idle.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    let (status, _, log) = service.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}
