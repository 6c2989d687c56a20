//! HTTPS: versions, ciphers, and clients that speak something else.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::rustls::{self, ProtocolVersion};

use crate::support::client::{Call, PASSWORD};
use crate::support::{TestApp, raw};

use super::{Files, connect, trusting};

/// Longer than a handshake takes at most, plus the silence of its connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_api_is_served_over_https() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let cert = files.issue();
    let app = TestApp::with(|config| files.configure(config)).await;
    let (http, base) = (trusting(&[cert]), format!("https://{}", app.address));
    let account = json!({ "email": "ada@example.com", "password": PASSWORD });
    let call = |method: &str, path: &str| Call::to(&http, &base, method, path);
    call("POST", "/register").json(&account).send().await.assert_status(201);
    let tokens = call("POST", "/login").json(&account).send().await.tokens();
    let me = call("GET", "/me").bearer(&tokens.access).send().await.assert_status(200);
    assert!(me.header("strict-transport-security").is_some());
    let cookies = json!({
        "email": "ada@example.com", "password": PASSWORD, "transport": "cookie"
    });
    let answer = call("POST", "/login").header("sec-fetch-site", "same-origin");
    let answer = answer.json(&cookies).send().await.assert_status(200);
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert!(!cookies.is_empty());
    for cookie in cookies {
        assert!(cookie.to_str().unwrap().contains("; Secure"), "{cookie:?}");
    }
}

#[tokio::test]
async fn both_versions_of_tls_speak_http_1_1_with_forward_secrecy() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let trusted = [files.issue()];
    let app = TestApp::with(|config| files.configure(config)).await;
    for (version, is) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let offered: &[&[u8]] = &[b"h2", b"http/1.1"];
        let stream = connect(app.address, &trusted, &[version], offered).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(is));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(session.negotiated_key_exchange_group().is_some(), "no forward secrecy");
        let refused = connect(app.address, &trusted, &[version], &[b"h2"]).await;
        assert!(refused.is_err(), "it offers a protocol that it does not support");
    }
}

#[tokio::test]
async fn an_older_tls_version_gets_an_alert() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    files.issue();
    let app = TestApp::with(|config| files.configure(config)).await;
    for version in [0x01, 0x02] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(&client_hello(version)).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(CLOSE_TIMEOUT, stream.read_to_end(&mut answer)).await;
        end.expect("it closes").unwrap();
        // RFC 8446 6: an alert, fatal, protocol_version.
        assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "{answer:?}");
    }
}

/// The first message of TLS 1.0 or 1.1 (RFC 4346 7.4.1.2), with the extensions of a later one.
fn client_hello(version: u8) -> Vec<u8> {
    let extensions = [
        &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4][..], // signature_algorithms
        &[0, 10, 0, 4, 0, 2, 0, 23],          // supported_groups: P-256
        &[0, 11, 0, 2, 1, 0],                 // ec_point_formats
    ]
    .concat();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let hello = [
        &[3, version][..],
        &[7; 32],                        // random
        &[0],                            // no session
        &[0, 4, 0xc0, 0x2b, 0xc0, 0x0a], // ECDHE with ECDSA
        &[1, 0],                         // no compression
        &[0, length(&extensions)],
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0, 0, length(&hello)][..], &hello].concat();
    [&[22, 3, 1, 0, length(&handshake)][..], &handshake].concat()
}

#[tokio::test]
async fn plain_http_on_the_tls_port_gets_an_error_and_is_closed() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    files.issue();
    let app = TestApp::with(|config| files.configure(config)).await;
    let body = "x".repeat(10_000);
    for request in [
        "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!("POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n{body}"),
    ] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = raw::until_closed(&mut stream, CLOSE_TIMEOUT).await.expect("it closes");
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains("HTTPS only"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_is_cut() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let cert = files.issue();
    let app = TestApp::with(|config| files.configure(config)).await;
    let silent = async {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        raw::until_closed(&mut stream, CLOSE_TIMEOUT).await
    };
    let half = async {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(&client_hello(3)[..20]).await.unwrap();
        raw::until_closed(&mut stream, CLOSE_TIMEOUT).await
    };
    let trickling = async {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        for byte in client_hello(3) {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            // Often enough to keep the connection open.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        raw::until_closed(&mut stream, CLOSE_TIMEOUT).await
    };
    let idle = async {
        // Meanwhile other clients are served.
        let base = format!("https://{}", app.address);
        Call::to(&trusting(&[cert]), &base, "GET", "/healthz").send().await.assert_status(200);
    };
    let (silent, half, trickling, ()) = tokio::join!(silent, half, trickling, idle);
    assert!(silent.is_some() && half.is_some() && trickling.is_some(), "they stay open for ever");
}
