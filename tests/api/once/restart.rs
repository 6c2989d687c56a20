//! Rolling restarts on one port, unnoticed by clients.

use std::fs;
use std::io::ErrorKind;
use std::mem::{self, MaybeUninit};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::start::{read_answer, request};
use crate::support::binary::{Doorward, as_owner_of, data_of, doorward, home, run, unlimited};
use crate::support::client::PASSWORD;
use crate::support::postgres::number_of;
use crate::support::program::{find, free_port};
use crate::support::{docs, until};

/// Restarts of the longer test, unless `DOORWARD_TEST_RESTARTS` is set.
const RESTARTS: u64 = 5;

const EMAIL: &str = "ada@example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_on_an_inherited_socket_leave_no_request_unanswered() {
    let home = home();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = unlimited(home.path());
    // The auxiliary sockets are not inherited, and must not block the successor either.
    command.env("DOORWARD_METRICS__ENABLED", "true");
    command.env("DOORWARD_METRICS__LISTEN", format!("127.0.0.1:{}", free_port()));
    let next = || {
        let socket = OwnedFd::from(listener.try_clone().unwrap());
        Doorward::start(&mut handing_over(socket, &command))
    };
    overlap(number_of("DOORWARD_TEST_RESTARTS").unwrap_or(RESTARTS), next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_restarts_on_one_port_leave_no_request_unanswered() {
    let home = home();
    let mut command = unlimited(home.path());
    command.env("DOORWARD_REUSE_PORT", "true");
    let restarts = number_of("DOORWARD_TEST_RESTARTS").unwrap_or(2);
    overlap(restarts, || start_beside(&mut command)).await;
}

/// Starts a service with `reuse_port`, which lets its successor use the same port. The system
/// shares it among processes of one user.
pub fn start_beside(command: &mut Command) -> Doorward {
    let service = Doorward::start(command);
    command.env("DOORWARD_LISTEN", service.url.strip_prefix("http://").unwrap());
    service
}

/// Starts one, and then repeatedly its successor before the previous one is stopped.
async fn overlap(restarts: u64, mut next: impl FnMut() -> Doorward) {
    let mut serving = next();
    serving.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let address: Arc<str> = serving.url.strip_prefix("http://").unwrap().into();
    let (answered, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = Vec::new();
    for n in 0..8 {
        // Sequentially: hashes that wait too long are dropped.
        let tokens = serving.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200).body;
        let (address, answered, done) = (address.clone(), answered.clone(), done.clone());
        clients.push(tokio::spawn(client(n, tokens, address, answered, done)));
    }
    let some_more = async || {
        let before = answered.load(Ordering::SeqCst);
        until(async || {
            answered.load(Ordering::SeqCst) > before + 20
                || clients.iter().any(JoinHandle::is_finished)
        })
        .await;
    };
    some_more().await;
    for _ in 0..restarts {
        let successor = next();
        some_more().await;
        let (status, _, log) = mem::replace(&mut serving, successor).stop();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
        assert!(log.contains("request completed"), "each has served some: {log}");
    }
    some_more().await;
    done.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    println!("{restarts} restarts, {} answers", answered.load(Ordering::SeqCst));
}

/// Behaves like an HTTP/1.1 client: keeps its connection, and opens another when that was closed
/// between two requests. Each of its requests is answered with 200.
async fn client(
    n: usize,
    mut tokens: Value,
    address: Arc<str>,
    answered: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
) {
    let keeps = n % 4 < 3;
    let mut connection: Option<TcpStream> = None;
    while !done.load(Ordering::SeqCst) {
        let mut stream = match connection.take().filter(is_open) {
            Some(stream) => stream,
            None => TcpStream::connect(&*address).await.unwrap(),
        };
        let refresh = json!({ "refresh_token": tokens["refresh_token"] }).to_string();
        let (method, path, body) = match n % 3 {
            0 => ("POST", "/refresh", refresh.as_str()),
            1 => ("GET", "/sessions", ""),
            _ => ("GET", "/me", ""),
        };
        let access = tokens["access_token"].as_str().unwrap();
        let sent = request(method, path, access, body, keeps);
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer:?}");
        answered.fetch_add(1, Ordering::SeqCst);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        if method == "POST" {
            tokens = serde_json::from_str(body).unwrap();
        }
        if keeps && !head.to_ascii_lowercase().contains("connection: close") {
            connection = Some(stream);
        }
    }
}

/// Whether no bytes and no end have arrived.
fn is_open(stream: &TcpStream) -> bool {
    let looked = SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
    looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// The command with an inherited socket, as systemd passes it.
pub fn handing_over(socket: OwnedFd, command: &Command) -> Command {
    let script = r#"exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@""#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(command.get_program()).args(command.get_args());
    let home = command.get_current_dir().unwrap();
    as_owner_of(home, &mut shell);
    shell.env_clear().current_dir(home);
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(socket);
    shell
}

#[tokio::test]
async fn a_stopping_service_reports_not_ready_and_serves_during_the_shutdown_delay() {
    let home = home();
    let service = Doorward::start(unlimited(home.path()).env("DOORWARD_SHUTDOWN_DELAY", "10m"));
    service.get("/readyz").send().await.assert_status(200);
    service.signal(Signal::TERM);
    until(async || service.get("/readyz").send().await.status == 503).await;
    let answer = service.get("/readyz").send().await.assert_problem(503, "not_ready");
    assert!(answer.text.contains("shutting down"), "{}", answer.text);
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let me = service.me(&tokens.access).await.unwrap().assert_status(200);
    assert!(!me.headers.contains_key("connection"), "connections are kept: {:?}", me.headers);
    // The second signal takes effect.
    service.signal(Signal::TERM);
    assert_eq!(service.ended().0.code(), Some(1));
}

#[test]
fn an_inherited_socket_that_does_not_listen_is_rejected() {
    let home = home();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let file = fs::File::open(home.path()).unwrap();
    for (handed, says) in
        [(OwnedFd::from(connection), "does not listen"), (OwnedFd::from(file), "is not a socket")]
    {
        let refusal = run(&mut handing_over(handed, &doorward(home.path())));
        assert_eq!(refusal.status.code(), Some(1), "{refusal:?}");
        assert!(refusal.stderr.contains("LISTEN_FDS"), "{refusal:?}");
        assert!(refusal.stderr.contains(says), "{refusal:?}");
    }
    assert!(!data_of(home.path()).exists(), "a rejected start leaves no files");
}

#[test]
fn the_documented_units_are_valid() {
    let Some([analyze]) = find(["systemd-analyze"], "systemd") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut verify = Command::new(analyze);
    verify.arg("verify");
    for (name, unit) in [
        (
            "doorward.socket",
            docs::block("docs/deployment.md", "# /etc/systemd/system/doorward.socket\n"),
        ),
        (
            "doorward.service",
            docs::block("docs/deployment.md", "# /etc/systemd/system/doorward.service\n"),
        ),
    ] {
        let unit = unit.replace("/usr/local/bin/doorward", env!("CARGO_BIN_EXE_doorward"));
        fs::write(folder.path().join(name), unit).unwrap();
        verify.arg(folder.path().join(name));
    }
    let output = verify.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("doorward."), "{said}");
}
