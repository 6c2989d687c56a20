//! The documented configurations of gateways in front of an application.

mod nginx;
mod traefik;

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The identity headers for the application.
pub const IDENTITY: [&str; 5] =
    ["x-auth-user", "x-auth-session", "x-auth-client", "x-auth-roles", "x-auth-scope"];

/// An application that responds with the request it received.
pub async fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut head, mut buffer) = (String::new(), [0; 4096]);
                while !head.contains("\r\n\r\n") {
                    let Ok(read @ 1..) = stream.read(&mut buffer).await else { return };
                    head.push_str(&String::from_utf8_lossy(&buffer[..read]));
                }
                let (head, _) = head.split_once("\r\n\r\n").unwrap();
                let mut lines = head.lines();
                let mut seen = json!({ "request": lines.next() });
                for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
                    seen[name.to_ascii_lowercase()] = value.into();
                }
                let body = seen.to_string();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

/// The headers of a client that tries to impersonate another user. WSGI and PHP treat an underscore
/// as a hyphen.
pub const FORGED: [(&str, &str); 9] = [
    ("X_Auth_User", "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75"),
    ("X-Auth_User", "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75"),
    ("X_Auth-Roles", "admin"),
    ("x_auth_scope", "everything"),
    ("X-Auth-User", "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75"),
    ("x-auth-session", "019ab3d4-71f0-7c44-9b1d-60f2a8d3e517"),
    ("X-AUTH-CLIENT", "admin"),
    ("X-Auth-Roles", "admin"),
    ("X-Auth-Scope", "everything"),
];

/// As seen by an application that reads headers as variables: no identity header's name appears in
/// another form.
#[track_caller]
pub fn assert_one_spelling(seen: &Value) {
    let odd = |name: &String| name.contains('_') && IDENTITY.contains(&&*name.replace('_', "-"));
    assert!(!seen.as_object().unwrap().keys().any(odd), "{seen}");
}
