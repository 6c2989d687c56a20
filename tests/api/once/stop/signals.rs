//! Signals, and ports that cannot be had.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use doorward::clock::Clock;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::once::start::{read_answer, request};
use crate::once::tls;
use crate::support::binary::{Doorward, doorward, home, home_of, run, unlimited, users};
use crate::support::client::PASSWORD;
use crate::support::program::free_port;
use crate::support::{until, until_within};

use super::EMAIL;

#[tokio::test]
async fn a_request_in_progress_is_answered_when_an_unprivileged_service_stops() {
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
async fn other_signals_do_not_end_the_service() {
    let home = home();
    let service = Doorward::start(&mut unlimited(home.path()));
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::HUP] {
        service.signal(signal);
        service.get("/healthz").send().await.assert_status(200);
    }
    let (status, _, log) = service.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("SIGHUP ignored: settings change at a restart"), "{log}");
}

#[tokio::test]
async fn sighup_reads_a_renewed_certificate_at_once() {
    let home = home();
    let files = tls::Files::in_directory(home.path());
    let mut command = files.command(unlimited(home.path()));
    command.env("DOORWARD_PUBLIC_URL", tls::ISSUER);
    let service = tls::start(&mut command, &files.issue());
    let address: SocketAddr = service.url.strip_prefix("https://").unwrap().parse().unwrap();
    let clock = Clock::system();
    // The files are also polled once a second, which would miss this many renewals in such a short
    // time. A busy machine may need several attempts.
    until_within(Duration::from_secs(60), async || {
        let begun = clock.monotonic();
        for _ in 0..5 {
            let cert = files.issue();
            service.signal(Signal::HUP);
            let trusted = std::slice::from_ref(&cert);
            until(async || tls::connect(address, trusted, tls::BOTH, &[]).await.is_ok()).await;
        }
        clock.monotonic() - begun < Duration::from_secs(3)
    })
    .await;
    let (status, _, log) = service.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("SIGHUP: reading tls.cert and tls.key"), "{log}");
}

#[test]
fn a_privileged_port_names_the_capability_that_it_needs() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim() == "0" {
        return;
    }
    let user = *users().last().unwrap();
    assert_ne!(user, 0, "an unprivileged user");
    let home = home_of(user);
    let refusal = run(doorward(home.path()).args(["--listen", "127.0.0.1:1"]));
    assert_eq!(refusal.status.code(), Some(1), "{refusal:?}");
    for word in ["CAP_NET_BIND_SERVICE", ".socket", "--listen"] {
        assert!(refusal.stderr.contains(word), "{word}: {refusal:?}");
    }
    assert!(!refusal.stderr.contains("stop the process that uses"), "{refusal:?}");
}

#[test]
fn two_listeners_on_one_address_are_refused_by_start_and_doctor() {
    let home = home();
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
