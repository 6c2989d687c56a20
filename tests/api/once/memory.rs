//! The memory of connections: the real binary, with many clients that declare a large body and send
//! one byte of it, compared with as many idle connections.
//!
//! `DOORWARD_TEST_CONNECTIONS` sets the number; the test prints the figures to report.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use doorward::clock::Clock;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::once::slow::has_descriptors;
use crate::support::binary::{Doorward, unlimited};
use crate::support::postgres::number_of;
use crate::support::until_within;

/// Connections, unless `DOORWARD_TEST_CONNECTIONS` is set.
const CONNECTIONS: u64 = 2_000;

/// The most KiB that a connection with an unfinished body may use beyond an idle one. A body that
/// is allocated in full takes 64. A debug build takes 13 to 14, because its futures are larger;
/// `cargo bench --bench load -- connections` holds the release build to the same 12.
const MORE: u64 = if cfg!(debug_assertions) { 16 } else { 12 };

/// KiB that may stay after the last connection: each worker keeps 256 requests for reuse, with
/// their read buffers.
const KEPT: u64 = 20 * 1024;

/// The time after which the rest must have been returned to the system.
const MEMORY_RETURN_TIMEOUT: Duration = Duration::from_secs(60);

const IDLE: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
const ANNOUNCED: &str = "POST /login HTTP/1.1\r\nHost: a\r\n\
    Content-Type: application/json\r\nContent-Length: 65536\r\n\r\n{";
const ANNOUNCED_FORM: &str = "POST /token HTTP/1.1\r\nHost: a\r\n\
    Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 65536\r\n\r\na";
const CHUNKED: &str = "POST /login HTTP/1.1\r\nHost: a\r\n\
    Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n";

/// Resources other than `/login` that read a JSON body first.
const OTHERS: [&str; 3] = ["/register", "/refresh", "/logout"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declared_but_unsent_body_takes_no_memory() {
    let count = number_of("DOORWARD_TEST_CONNECTIONS").unwrap_or(CONNECTIONS);
    let connections = usize::try_from(count).unwrap();
    assert!(has_descriptors(connections + 500), "{count} connections need a higher `ulimit -n`");
    let home = tempfile::tempdir().unwrap();
    let mut command = unlimited(home.path());
    command.env("DOORWARD_LIMITS__REQUEST_TIMEOUT", "5s");
    command.env("DOORWARD_PASSWORDS__QUEUE_DEADLINE", "1s");
    command.env("DOORWARD_WORKERS", "2");
    let service = Doorward::start(&mut command);
    let start = resident(&service);
    let idle = highest(&service, &vec![IDLE; connections]).await;
    println!("{count} idle connections: {start} KiB at the start, {idle} KiB with them");
    let mut most_of_all = idle;
    let elsewhere = OTHERS.map(|path| ANNOUNCED.replace("/login", path));
    for (what, requests) in [
        ("JSON", &[ANNOUNCED][..]),
        ("a form", &[ANNOUNCED_FORM]),
        ("chunks", &[CHUNKED]),
        ("other resources", &elsewhere.each_ref().map(String::as_str)),
    ] {
        let all: Vec<_> = requests.iter().copied().cycle().take(connections).collect();
        let most = highest(&service, &all).await;
        println!("{count} unfinished bodies ({what}): {most} KiB");
        let bound = idle + MORE * count;
        assert!(most <= bound, "{what}: {most} KiB, {idle} KiB with idle connections");
        most_of_all = most_of_all.max(most);
    }
    assert!(
        most_of_all > start + KEPT,
        "too few connections to measure how much memory is returned"
    );
    let clock = Clock::system();
    let ended = clock.monotonic();
    until_within(MEMORY_RETURN_TIMEOUT, async || resident(&service) <= start + KEPT).await;
    let (after, took) = (resident(&service), clock.monotonic() - ended);
    println!("{took:?} after the last of them: {after} KiB");
}

/// The peak resident memory while all of these requests wait, and while they are answered.
async fn highest(service: &Doorward, requests: &[&str]) -> u64 {
    let address: SocketAddr = service.url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut most = 0;
    let mut streams = Vec::new();
    for request in requests {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    // Each is answered eventually: the idle one with 200, a body that does not arrive with 408.
    let answered = join_all(streams.iter_mut().map(async |stream| {
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert!([&b"HTTP/1.1 200"[..], b"HTTP/1.1 408"].contains(&&status[..]), "{status:?}");
    }));
    let mut answered = std::pin::pin!(answered);
    loop {
        most = most.max(resident(service));
        if tokio::time::timeout(Duration::from_millis(50), &mut answered).await.is_ok() {
            break;
        }
    }
    most.max(resident(service))
}

/// KiB.
fn resident(service: &Doorward) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
