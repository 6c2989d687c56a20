//! Shutdown under load, and a second process on the same data.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use doorward::clock::Clock;
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::binary::{Doorward, home, unlimited};
use crate::support::client::PASSWORD;

use super::{read_answer, request};

const EMAIL: &str = "ada@example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_leaves_no_accepted_request_unanswered() {
    stops_without_losing_a_request(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_under_load_leaves_no_accepted_request_unanswered() {
    stops_without_losing_a_request(Signal::INT).await;
}

async fn stops_without_losing_a_request(signal: Signal) {
    let home = home();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let address = service.url.strip_prefix("http://").unwrap().to_owned();
    let answered = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    // Every client that could connect must be answered, until the port is closed.
    let client = async |n: usize| {
        let (method, path, body) = match n % 4 {
            0 => ("GET", "/me", String::new()),
            1 => ("POST", "/refresh", json!({ "refresh_token": tokens.refresh }).to_string()),
            2 => ("GET", "/sessions", String::new()),
            _ => ("POST", "/login", json!({ "email": EMAIL, "password": PASSWORD }).to_string()),
        };
        let keeps = n % 8 < 4;
        while let Ok(mut stream) = TcpStream::connect(&address).await {
            loop {
                let request = request(method, path, &tokens.access, &body, keeps);
                stream.write_all(request.as_bytes()).await.expect("an open connection takes it");
                let answer = read_answer(&mut stream).await;
                assert!(
                    ["HTTP/1.1 200", "HTTP/1.1 503"].iter().any(|good| answer.starts_with(good)),
                    "{method} {path}, after {} answers: {answer:?}",
                    answered.load(Ordering::SeqCst)
                );
                // Nor does a stop drop requests that wait for a hash: 503 is for a full queue.
                if answered.fetch_add(1, Ordering::SeqCst) == 150 {
                    stopped.store(true, Ordering::SeqCst);
                    service.signal(signal);
                }
                if !keeps || answer.to_ascii_lowercase().contains("\r\nconnection: close") {
                    break;
                }
            }
        }
    };
    join_all((0..24).map(client)).await;
    assert!(stopped.into_inner());
    let (status, _, log) = service.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    let again = Doorward::start(&mut unlimited(home.path()));
    again.me(&tokens.access).await.unwrap().assert_status(200);
}

#[tokio::test]
async fn a_second_instance_starts_on_the_same_data_while_the_first_drains() {
    let home = home();
    let first = Doorward::start(&mut unlimited(home.path()));
    first.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = first.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let other = first.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let address = first.url.strip_prefix("http://").unwrap().to_owned();

    // A half-sent request keeps the first one from ending.
    let body = json!({ "refresh_token": tokens.refresh }).to_string();
    let whole = request("POST", "/refresh", &tokens.access, &body, true);
    let (half, rest) = whole.split_at(whole.len() - 10);
    let mut slow = TcpStream::connect(&address).await.unwrap();
    slow.write_all(half.as_bytes()).await.unwrap();
    first.me(&tokens.access).await.unwrap().assert_status(200);
    first.signal(Signal::TERM);

    // On the same port, as soon as the first has released it.
    let mut command = unlimited(home.path());
    command.env("DOORWARD_LISTEN", &address);
    let second = loop {
        if TcpListener::bind(&address).is_ok() {
            break Doorward::start(&mut command);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    second.me(&tokens.access).await.unwrap().assert_status(200);
    second.log_out(&other.access).await.unwrap().assert_status(204);
    slow.write_all(rest.as_bytes()).await.unwrap();
    let answer = read_answer(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    let (status, _, log) = first.ended();
    assert_eq!(status.code(), Some(0), "{log}");

    // The last response of the first one is valid at the second.
    let key = "the-same-key-again-1";
    assert_eq!(second.refresh(&tokens.refresh, key).await.unwrap().tokens().generation, 1);
}

#[tokio::test]
async fn a_logout_at_one_instance_applies_at_another_on_the_same_data() {
    let home = home();
    let one = Doorward::start(&mut unlimited(home.path()));
    let other = Doorward::start(&mut unlimited(home.path()));
    one.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = one.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    other.me(&tokens.access).await.unwrap().assert_status(200);
    let clock = Clock::system();
    one.log_out(&tokens.access).await.unwrap().assert_status(204);
    let ended = clock.monotonic();
    while other.me(&tokens.access).await.unwrap().status == 200 {
        assert!(clock.monotonic() - ended < Duration::from_secs(1), "a second has passed");
    }
    println!("the other instance rejects after {:.0?}", clock.monotonic() - ended);
    other.me(&tokens.access).await.unwrap().assert_problem(401, "token_revoked");
}
