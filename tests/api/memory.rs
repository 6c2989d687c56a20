//! The memory that connections take: the real binary, with many clients that announce a large body
//! and send one byte of it, beside as many idle connections.
//!
//! `DOORWARD_TEST_CONNECTIONS` says how many; the figures that the test prints are those to report.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::slow::has_descriptors;
use crate::support::binary::{Doorward, unlimited};
use crate::support::postgres::number_of;

/// Connections, unless `DOORWARD_TEST_CONNECTIONS` says otherwise.
const CONNECTIONS: u64 = 500;

/// KiB that a connection with an unfinished body may take more than an idle one: 60 MiB for 5,000.
/// A request that waits is a future, and those are larger in a build that is not optimized.
const MORE: u64 = if cfg!(debug_assertions) { 24 } else { 12 };

/// KiB that come and go with the allocator's arenas, however few the connections are.
const SLACK: u64 = 4 * 1024;

const IDLE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
const ANNOUNCED: &[u8] = b"POST /login HTTP/1.1\r\nHost: a\r\n\
    Content-Type: application/json\r\nContent-Length: 65536\r\n\r\n{";
const ANNOUNCED_FORM: &[u8] = b"POST /token HTTP/1.1\r\nHost: a\r\n\
    Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 65536\r\n\r\na";
const CHUNKED: &[u8] = b"POST /login HTTP/1.1\r\nHost: a\r\n\
    Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_only_announced_takes_no_memory() {
    let count = number_of("DOORWARD_TEST_CONNECTIONS").unwrap_or(CONNECTIONS);
    let connections = usize::try_from(count).unwrap();
    assert!(has_descriptors(connections + 500), "{count} connections need a higher `ulimit -n`");
    let home = tempfile::tempdir().unwrap();
    let mut command = unlimited(home.path());
    command.env("DOORWARD_LIMITS__REQUEST_TIMEOUT", "5s");
    command.env("DOORWARD_PASSWORDS__QUEUE_DEADLINE", "1s");
    let service = Doorward::start(&mut command);
    let start = resident(&service);
    // Once for the buffers of the connections themselves, which the allocator keeps for the next.
    let idle = highest(&service, &vec![IDLE; connections]).await;
    println!("{count} idle connections: {start} KiB at the start, {idle} KiB with them");
    for (what, request) in [("JSON", ANNOUNCED), ("a form", ANNOUNCED_FORM), ("chunks", CHUNKED)] {
        let most = highest(&service, &vec![request; connections]).await;
        println!("{count} unfinished bodies ({what}): {most} KiB");
        let bound = idle + MORE * count + SLACK;
        assert!(most <= bound, "{what}: {most} KiB, {idle} KiB with idle connections");
    }
    // The allocator keeps it for what comes next; that it goes back to the system is not tested.
    let after = resident(&service);
    println!("after the last of them: {after} KiB");
}

/// The most memory that is resident while all of these requests wait for something, and while they
/// are answered.
async fn highest(service: &Doorward, requests: &[&[u8]]) -> u64 {
    let address: SocketAddr = service.url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut most = 0;
    let mut streams = Vec::new();
    for request in requests {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        streams.push(stream);
    }
    // Each is answered in the end: the idle one with 200, a body that does not come with 408.
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
