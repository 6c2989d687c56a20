//! Stops under load, by every user that the service can run as, and the other signals.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::restart::handing_over;
use super::start::{read_answer, request};
use crate::support::binary::{Doorward, STRANGER, doorward, home_of, run, unlimited, users};
use crate::support::client::PASSWORD;
use crate::support::postgres::number_of;
use crate::support::program::free_port;
use crate::support::until;

/// Stops of each kind and user, unless `DOORWARD_TEST_STOPS` says otherwise.
const STOPS: u64 = 2;

/// Answers after which the service is told to stop.
const ENOUGH: usize = 100;

const EMAIL: &str = "ada@example.com";

fn stops() -> u64 {
    number_of("DOORWARD_TEST_STOPS").unwrap_or(STOPS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stop_leaves_a_connected_client_unanswered_whoever_runs_the_service() {
    for user in users() {
        for _ in 0..stops() {
            let home = home_of(user);
            stop_under_load(Doorward::start(&mut unlimited(home.path())), false).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stop_beside_another_process_leaves_a_connected_client_unanswered() {
    for user in users() {
        for _ in 0..stops() {
            let home = home_of(user);
            let mut command = unlimited(home.path());
            command.env("DOORWARD_REUSE_PORT", "true");
            stop_under_load(Doorward::start(&mut command), false).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stop_on_a_socket_that_is_handed_over_leaves_a_request_half_answered() {
    for user in users() {
        for _ in 0..stops() {
            let home = home_of(user);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = OwnedFd::from(listener);
            let mut command = handing_over(socket, &unlimited(home.path()));
            let service = Doorward::start(&mut command);
            // The command has the socket, too, and would keep it open.
            drop(command);
            stop_under_load(service, true).await;
        }
    }
}

/// Clients open connections without a pause until the port is closed. Every one that was connected
/// is answered; on a socket that nobody else keeps, those that the service has not accepted are not.
async fn stop_under_load(service: Doorward, is_handed_over: bool) {
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let address = service.url.strip_prefix("http://").unwrap().to_owned();
    let answered = AtomicUsize::new(0);
    let client = async |n: usize| {
        let refresh = json!({ "refresh_token": tokens.refresh }).to_string();
        let (method, path, body) = match n % 3 {
            0 => ("POST", "/refresh", refresh.as_str()),
            1 => ("GET", "/sessions", ""),
            _ => ("GET", "/me", ""),
        };
        while let Ok(mut stream) = TcpStream::connect(&address).await {
            let sent = request(method, path, &tokens.access, body, n.is_multiple_of(2));
            let sent = stream.write_all(sent.as_bytes()).await;
            let answer = if sent.is_ok() { read_answer(&mut stream).await } else { String::new() };
            if is_handed_over && answer.is_empty() && answered.load(Ordering::SeqCst) > ENOUGH {
                break;
            }
            let about = (method, path, answered.load(Ordering::SeqCst));
            assert!(answer.starts_with("HTTP/1.1 200"), "{about:?}: {answer:?}");
            if answered.fetch_add(1, Ordering::SeqCst) == ENOUGH {
                service.signal(Signal::TERM);
            }
        }
    };
    join_all((0..16).map(client)).await;
    let (status, _, log) = service.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn a_request_under_way_is_answered_when_an_unprivileged_service_stops() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        for user in users() {
            let home = home_of(user);
            let service = Doorward::start(&mut unlimited(home.path()));
            let address = service.url.strip_prefix("http://").unwrap().to_owned();
            let body = json!({ "email": EMAIL, "password": PASSWORD }).to_string();
            let whole = request("POST", "/register", "", &body, false);
            let (half, rest) = whole.split_at(whole.len() - 5);
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(half.as_bytes()).await.unwrap();
            service.get("/healthz").send().await.assert_status(200);
            service.signal(signal);
            until(async || TcpListener::bind(&address).is_ok()).await;
            stream.write_all(rest.as_bytes()).await.unwrap();
            let answer = read_answer(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 201"), "{signal:?} as {user}: {answer:?}");
            let (status, _, log) = service.ended();
            assert_eq!(status.code(), Some(0), "{log}");
            assert!(!log.contains("cannot start"), "{log}");
        }
    }
}

#[tokio::test]
async fn signals_that_ask_for_nothing_do_not_end_the_service() {
    let home = home_of(users()[0]);
    let service = Doorward::start(&mut unlimited(home.path()));
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::HUP] {
        service.signal(signal);
        service.get("/healthz").send().await.assert_status(200);
    }
    let (status, _, log) = service.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("SIGHUP is ignored: settings change at a restart"), "{log}");
}

#[test]
fn a_privileged_port_names_the_capability_that_it_needs() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim() == "0" {
        return;
    }
    let user = *users().last().unwrap();
    assert!(user != 0 && (user == STRANGER || users().len() == 1));
    let home = home_of(user);
    let refusal = run(doorward(home.path()).args(["--listen", "127.0.0.1:1"]));
    assert_eq!(refusal.status.code(), Some(1), "{refusal:?}");
    for word in ["CAP_NET_BIND_SERVICE", ".socket", "--listen"] {
        assert!(refusal.stderr.contains(word), "{word}: {refusal:?}");
    }
    assert!(!refusal.stderr.contains("stop what uses"), "{refusal:?}");
}

#[test]
fn two_listeners_on_one_address_are_refused_by_start_and_doctor() {
    let home = home_of(users()[0]);
    let port = free_port();
    for metrics in ["127.0.0.1", "0.0.0.0"] {
        for (command, reuse) in [("serve", "false"), ("serve", "true"), ("doctor", "false")] {
            let mut it: Command = doorward(home.path());
            it.arg(command).env("DOORWARD_LISTEN", format!("127.0.0.1:{port}"));
            it.env("DOORWARD_METRICS__ENABLED", "true").env("DOORWARD_REUSE_PORT", reuse);
            it.env("DOORWARD_METRICS__LISTEN", format!("{metrics}:{port}"));
            let refusal = run(&mut it);
            assert_eq!(refusal.status.code(), Some(2), "{refusal:?}");
            assert!(refusal.stderr.contains("metrics.listen"), "{refusal:?}");
            assert!(refusal.stderr.contains("already taken by listen"), "{refusal:?}");
        }
    }
}
