//! Shutdown under load: every connected client gets a response.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::once::restart::{handing_over, start_beside};
use crate::once::start::{read_answer, request};
use crate::once::tls;
use crate::support::binary::{Doorward, home_of, unlimited, users};
use crate::support::client::PASSWORD;
use crate::support::postgres::number_of;
use crate::support::{Tokens, until};

use super::EMAIL;

/// Stops of each kind and user, unless `DOORWARD_TEST_STOPS` is set.
const STOPS: u64 = 2;

/// Responses before the first stop, and between two.
const ENOUGH: usize = 100;

fn stops() -> u64 {
    number_of("DOORWARD_TEST_STOPS").unwrap_or(STOPS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stop_leaves_a_connected_client_unanswered_under_any_user() {
    for user in users() {
        for _ in 0..stops() {
            let home = home_of(user);
            let service = Doorward::start(&mut unlimited(home.path()));
            let load = Load::on(&service, None).await;
            tokio::join!(load.clients(), load.last_stop(service));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stop_leaves_a_client_of_tls_unanswered() {
    for user in users() {
        for _ in 0..stops() {
            let home = home_of(user);
            let files = tls::Files::in_directory(home.path());
            let cert = files.issue();
            let mut command = files.command(unlimited(home.path()));
            command.env("DOORWARD_PUBLIC_URL", tls::ISSUER);
            let service = tls::start(&mut command, &cert);
            let load = Load::on(&service, Some(cert)).await;
            tokio::join!(load.clients(), load.last_stop(service));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stop_next_to_another_process_leaves_a_connected_client_unanswered() {
    for user in users() {
        for _ in 0..stops() {
            let home = home_of(user);
            let mut command = unlimited(home.path());
            command.env("DOORWARD_REUSE_PORT", "true");
            let [first, second] = [(); 2].map(|()| start_beside(&mut command));
            let load = Load::on(&first, None).await;
            let stops = async {
                // The port stays open: no client may be rejected.
                load.stop(first).await;
                load.last_stop(second).await;
            };
            tokio::join!(load.clients(), stops);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_on_an_inherited_socket_leaves_waiting_connections_to_the_next_process() {
    for user in users() {
        for _ in 0..stops() {
            let home = home_of(user);
            // Kept here, as a service manager does.
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let next = || {
                let socket = OwnedFd::from(listener.try_clone().unwrap());
                Doorward::start(&mut handing_over(socket, &unlimited(home.path())))
            };
            let first = next();
            let load = Load::on(&first, None).await;
            let stops = async {
                load.stop(first).await;
                let second = next();
                load.some_more().await;
                load.is_over.store(true, Ordering::SeqCst);
                second
            };
            let ((), second) = tokio::join!(load.clients(), stops);
            assert_ended_well(second.stop());
        }
    }
}

/// Clients that open connections without a pause. Every connected one is answered.
struct Load {
    address: SocketAddr,
    /// The certificate, for TLS.
    trusted: Option<CertificateDer<'static>>,
    tokens: Tokens,
    answered: AtomicUsize,
    /// Set when the last process on the port is about to stop.
    may_close: AtomicBool,
    is_over: AtomicBool,
}

impl Load {
    /// Load on the address of this service, with an account of its own.
    async fn on(service: &Doorward, trusted: Option<CertificateDer<'static>>) -> Self {
        service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
        let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
        let (_, address) = service.url.split_once("://").unwrap();
        Self {
            address: address.parse().unwrap(),
            trusted,
            tokens,
            answered: AtomicUsize::new(0),
            may_close: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// Runs until the load ends or the port is closed, which must not happen early.
    async fn clients(&self) {
        join_all((0..16).map(|n| self.client(n))).await;
    }

    async fn client(&self, n: usize) {
        let refresh = json!({ "refresh_token": self.tokens.refresh }).to_string();
        let (method, path, body) = match n % 3 {
            0 => ("POST", "/refresh", refresh.as_str()),
            1 => ("GET", "/sessions", ""),
            _ => ("GET", "/me", ""),
        };
        let request = request(method, path, &self.tokens.access, body, n.is_multiple_of(2));
        while !self.is_over.load(Ordering::SeqCst) {
            let stream = match TcpStream::connect(self.address).await {
                Ok(stream) => stream,
                Err(error) => {
                    assert!(self.may_close.load(Ordering::SeqCst), "refused: {error}");
                    return;
                }
            };
            let answer = self.ask(stream, &request).await.unwrap_or_else(|e| e.to_string());
            let nth = self.answered.fetch_add(1, Ordering::SeqCst);
            assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}, {nth}: {answer:?}");
        }
    }

    async fn ask(&self, mut stream: TcpStream, request: &str) -> io::Result<String> {
        let Some(cert) = &self.trusted else {
            stream.write_all(request.as_bytes()).await?;
            return Ok(read_answer(&mut stream).await);
        };
        let trusted = std::slice::from_ref(cert);
        let mut stream = tls::shake_hands(stream, trusted, tls::BOTH, &[]).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        Ok(read_answer(&mut stream).await)
    }

    async fn some_more(&self) {
        let before = self.answered.load(Ordering::SeqCst);
        until(async || self.answered.load(Ordering::SeqCst) >= before + ENOUGH).await;
    }

    /// Stops one of the processes that share the port.
    async fn stop(&self, service: Doorward) {
        self.some_more().await;
        stop_well(service).await;
    }

    /// Stops the last of them.
    async fn last_stop(&self, service: Doorward) {
        self.some_more().await;
        self.may_close.store(true, Ordering::SeqCst);
        stop_well(service).await;
    }
}

async fn stop_well(service: Doorward) {
    let stopped = tokio::task::spawn_blocking(move || service.stop()).await;
    assert_ended_well(stopped.unwrap());
}

#[track_caller]
fn assert_ended_well((status, _, log): (ExitStatus, String, String)) {
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    assert!(log.contains("request completed"), "it has served some: {log}");
}
