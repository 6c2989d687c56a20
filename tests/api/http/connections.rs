//! Slow clients, and several requests on one connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{TestApp, raw};

use super::impatient;

#[tokio::test]
async fn endless_requests_time_out_without_blocking_others() {
    let app = TestApp::start().await;
    let access = app.signed_up().await.tokens.access;
    let app = app.restart_with(impatient).await;
    let head = "POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    let of_body = format!("{head}Content-Length: 1000\r\n\r\n");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let whole = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let unread = "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    let second = format!("{whole}GET /healthz HTTP/1.1\r\nHo");
    // The first bytes, the bytes repeated afterwards, and the status of the last response.
    let cases: [(&str, &str, &str, Option<u16>); 11] = [
        ("a body that never comes", &of_body, "", Some(408)),
        ("a body that trickles", &of_body, " ", Some(408)),
        ("a chunk that never comes", &chunked, "", Some(408)),
        ("chunks that trickle", &chunked, "1\r\n \r\n", Some(408)),
        ("a body that nobody reads", unread, "", Some(200)),
        ("a trickle that nobody reads", unread, " ", Some(200)),
        ("a head that never ends", "GET /healthz HTTP/1.1\r\nHo", "", Some(408)),
        ("a head that trickles", "GET /healthz HTTP/1.1\r\nX-A: ", "a", Some(408)),
        ("a second head that trickles", &second, "s", Some(200)),
        ("an idle connection", whole, "", Some(200)),
        ("a connection without a word", "", "", None),
    ];
    let over = AtomicBool::new(false);
    let slow = async {
        let all = cases.iter().flat_map(|case| std::iter::repeat_n(case, 20));
        join_all(all.map(|(what, first, then, status)| {
            let address = app.address;
            async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(first.as_bytes()).await.unwrap();
                let ended = trickle(&mut stream, then).await;
                let text = ended.unwrap_or_else(|| panic!("{what}: still open after 6 seconds"));
                let last = text.rfind("HTTP/1.1 ").map(|at| &text[at..]);
                let found = last.map(|answer| answer[9..12].parse().unwrap());
                if let Some(status) = status {
                    assert_eq!(found, Some(*status), "{what}: {text}");
                } else {
                    assert!(found.is_none_or(|status| status == 408), "{what}: {text}");
                }
                if found == Some(408) {
                    let answer = raw::read("POST", "/login", last.unwrap());
                    assert_eq!(answer.header("connection"), Some("close"), "{what}");
                    assert!(answer.header("retry-after").is_some(), "{what}");
                    answer.assert_problem(408, "request_timeout");
                }
            }
        }))
        .await;
        over.store(true, Ordering::Relaxed);
    };
    let meanwhile = async {
        let mut served = 0;
        while !over.load(Ordering::Relaxed) {
            let in_time = tokio::time::timeout(Duration::from_secs(1), app.me(&access)).await;
            in_time.expect("served at once").assert_status(200);
            served += 1;
        }
        served
    };
    let ((), served) = tokio::join!(slow, meanwhile);
    assert!(served > 20, "{served} requests in some seconds");
}

/// Sends the same bytes repeatedly until the server closes; `None` when it does not.
async fn trickle(stream: &mut TcpStream, then: &str) -> Option<String> {
    let mut heard = String::new();
    for _ in 0..24 {
        if !then.is_empty() && stream.write_all(then.as_bytes()).await.is_err() {
            return Some(heard);
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer);
        match tokio::time::timeout(Duration::from_millis(250), read).await {
            Ok(Ok(0) | Err(_)) => return Some(heard),
            Ok(Ok(count)) => heard += &String::from_utf8_lossy(&buffer[..count]),
            Err(_) => {}
        }
    }
    None
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another_and_pipelined_ones_in_order() {
    let app = TestApp::start().await;
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let asked = ["/healthz", "/nowhere", "/me", "/healthz"];
    for path in &asked[..3] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let last = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(last.as_bytes()).await.unwrap();
    let text = raw::until_closed(&mut stream, Duration::from_secs(5)).await.unwrap();
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|it| &it[..3]).collect();
    assert_eq!(statuses, ["200", "404", "401", "200"], "{text}");
}
