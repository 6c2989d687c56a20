//! Many slow clients, and a service without file descriptors: the real binary. Well-behaved clients
//! are served meanwhile.
//!
//! `DOORWARD_TEST_SLOW` sets the number of slow connections, `DOORWARD_TEST_SLOW_SECONDS` for how
//! long they reconnect; the test prints the times to report.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use doorward::clock::Clock;
use futures_util::future::{join, join_all};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::binary::{Doorward, unlimited};
use crate::support::client::{Call, PASSWORD};
use crate::support::postgres::number_of;
use crate::support::until;

/// The number of slow connections, unless `DOORWARD_TEST_SLOW` is set.
const SLOW: u64 = 300;

/// Seconds for which they reconnect, unless `DOORWARD_TEST_SLOW_SECONDS` is set.
const SECONDS: u64 = 1;

/// Simultaneous clients.
const AT_ONCE: usize = 600;

/// How much later than specified a connection may end on a busy machine.
const BUSY: Duration = Duration::from_secs(6);

/// Large responses that a slow reader requests simultaneously.
const ANSWERS: usize = 40;
const ALL_ANSWERS: usize = ANSWERS * include_str!("../../../openapi.yaml").len();

/// Tens of milliseconds on a quiet machine; this one may be busy with other tests.
const MAX_LATENCY: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_slow_connections_time_out_without_delaying_others() {
    let count = usize::try_from(number_of("DOORWARD_TEST_SLOW").unwrap_or(SLOW)).unwrap();
    // As many again at the server, which inherits the limit.
    assert!(has_descriptors(count + 500), "{count} connections need a higher `ulimit -n`");
    let home = tempfile::tempdir().unwrap();
    let mut command = unlimited(home.path());
    // Started before the load takes the machine's time.
    let service = Doorward::start(&mut command);
    service.register("owner@example.com", PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in("owner@example.com", PASSWORD).await.unwrap().tokens();
    drop(service);
    // By default a request has 15 s, and after its 408 the connection is closed when 25 s have
    // passed without another response. Only a run with the variable has that much time.
    let ends = if number_of("DOORWARD_TEST_SLOW").is_some() {
        Duration::from_secs(15 + 25)
    } else {
        command.env("DOORWARD_LIMITS__REQUEST_TIMEOUT", "2s");
        command.env("DOORWARD_PASSWORDS__QUEUE_DEADLINE", "1s");
        Duration::from_secs(2 + 4)
    };
    let service = Doorward::start(&mut command);
    let address = address_of(&service);
    let clock = Clock::system();
    let seconds = number_of("DOORWARD_TEST_SLOW_SECONDS").unwrap_or(SECONDS);
    let end = clock.monotonic() + Duration::from_secs(seconds);
    let (over, ended, cut) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));

    let slow = async {
        join_all((0..count).map(async |n| {
            tokio::time::sleep(Duration::from_millis(u64::try_from(n).unwrap())).await;
            while clock.monotonic() < end {
                let begun = clock.monotonic();
                let how = Slow::of(n);
                let heard = how.be_slow(address, ends).await;
                let took = clock.monotonic() - begun;
                // Buffered bytes are read slowly, too, after the end.
                let reads = if matches!(how, Slow::Reader) { ends } else { Duration::ZERO };
                assert!(took < ends + reads + BUSY, "{how:?} lived for {took:?}");
                let was_cut = matches!(how, Slow::Reader) && heard < ALL_ANSWERS;
                cut.fetch_add(usize::from(was_cut), Ordering::Relaxed);
                ended.fetch_add(1, Ordering::Relaxed);
            }
        }))
        .await;
        over.store(true, Ordering::Relaxed);
    };
    // On a persistent connection, and on a new one each time.
    let fresh = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let behaving = async |what: &str, http: &reqwest::Client| {
        let mut times = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let asked = clock.monotonic();
            let me = Call::to(http, &service.url, "GET", "/me").bearer(&tokens.access);
            let answer = me.try_send().await;
            answer
                .unwrap_or_else(|error| panic!("request {} {what}: {error:?}", times.len()))
                .assert_status(200);
            times.push(clock.monotonic() - asked);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        times.sort_unstable();
        times
    };
    let ((), (kept, new)) = join(
        slow,
        join(behaving("on one connection", &service.http), behaving("each on its own", &fresh)),
    )
    .await;
    let (ended, cut) = (ended.into_inner(), cut.into_inner());
    println!("{count} slow connections at once, {ended} in all, {seconds} s:");
    println!("  {cut} slow readers were cut in the middle of an answer");
    assert!(cut > 0, "a reader is never waited for without a limit");
    for (what, times) in [("on a persistent connection", kept), ("on new connections", new)] {
        let (p99, worst) = (times[times.len() * 99 / 100], times[times.len() - 1]);
        println!("  {} times /me {what}: p99 {p99:.1?}, worst {worst:.1?}", times.len());
        assert!(p99 < MAX_LATENCY, "{p99:?} {what}");
    }
}

/// The process is stopped, so the kernel accepts the connections.
#[test]
fn hundreds_of_simultaneous_connections_are_queued_before_they_are_accepted() {
    let home = tempfile::tempdir().unwrap();
    let service = Doorward::start(&mut unlimited(home.path()));
    let bound = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let count = AT_ONCE.min(bound.trim().parse().unwrap());
    service.signal(Signal::STOP);
    let address = address_of(&service);
    let connect = |_| std::net::TcpStream::connect_timeout(&address, BUSY);
    let came: io::Result<Vec<_>> = (0..count).map(connect).collect();
    service.signal(Signal::CONT);
    assert_eq!(came.unwrap().len(), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_descriptors_serves_open_connections_and_recovers() {
    const DESCRIPTORS: usize = 120;
    let home = tempfile::tempdir().unwrap();
    let settings = unlimited(home.path());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\"")]);
    command.arg(env!("CARGO_BIN_EXE_doorward")).env_clear().current_dir(home.path());
    command.envs(settings.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let service = Doorward::start(&mut command);
    service.register("owner@example.com", PASSWORD).await.unwrap().assert_status(201);
    let mut tokens = service.log_in("owner@example.com", PASSWORD).await.unwrap().tokens();
    let address = address_of(&service);

    let mut idle = Vec::new();
    for _ in 0..DESCRIPTORS {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    until(async || open_files(&service) >= DESCRIPTORS - 1).await;
    // The persistent connection, for reading and for writing.
    let before = ticks(&service);
    for generation in 1..=20 {
        service.me(&tokens.access).await.unwrap().assert_status(200);
        if generation == 1 {
            let key = "a-key-of-some-length";
            tokens = service.refresh(&tokens.refresh, key).await.unwrap().tokens();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let busy = ticks(&service) - before;
    // A second has 100 of them (sysconf(_SC_CLK_TCK)); a busy loop would use them all.
    assert!(busy < 60, "{busy} hundredths of a second of one second and a little");

    drop(idle);
    let fresh = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let me = Call::to(&fresh, &service.url, "GET", "/me").bearer(&tokens.access);
    let answer = tokio::time::timeout(Duration::from_secs(10), me.send()).await;
    answer.expect("served again").assert_status(200);
    service.get("/readyz").send().await.assert_status(200);
}

/// A way to waste a connection's time.
#[derive(Clone, Copy, Debug)]
enum Slow {
    Silent,
    Head,
    Body,
    Chunks,
    Idle,
    Reader,
}

impl Slow {
    /// Few of them read slowly: megabytes for each would be a flood, which another test covers.
    const fn of(n: usize) -> Self {
        match n % 60 {
            0 => Self::Reader,
            n => match n % 5 {
                0 => Self::Silent,
                1 => Self::Head,
                2 => Self::Body,
                3 => Self::Chunks,
                _ => Self::Idle,
            },
        }
    }

    /// Until the server closes; returns how many bytes came.
    async fn be_slow(self, address: SocketAddr, ends: Duration) -> usize {
        const LOGIN: &str = "POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
        let socket = TcpSocket::new_v4().unwrap();
        // Only a small part of a response fits into it.
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let (first, then) = match self {
            Self::Silent => (String::new(), ""),
            Self::Head => ("GET /me HTTP/1.1\r\nX-A: ".to_owned(), "a"),
            Self::Body => (format!("{LOGIN}Content-Length: 1000\r\n\r\n"), " "),
            Self::Chunks => (format!("{LOGIN}Transfer-Encoding: chunked\r\n\r\n"), "1\r\n \r\n"),
            Self::Idle => ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), ""),
            // More than fits into all the buffers in between.
            Self::Reader => ("GET /openapi.yaml HTTP/1.1\r\nHost: a\r\n\r\n".repeat(ANSWERS), ""),
        };
        if stream.write_all(first.as_bytes()).await.is_err() {
            return 0;
        }
        if matches!(self, Self::Reader) {
            // It begins to read when it should be closed.
            tokio::time::sleep(ends + Duration::from_secs(1)).await;
        }
        let (mut buffer, mut heard) = (vec![0; 16 * 1024], 0);
        loop {
            let read = stream.read(&mut buffer);
            match tokio::time::timeout(ends / 10, read).await {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(count)) => heard += count,
                Err(_) if then.is_empty() => {}
                Err(_) => {
                    if stream.write_all(then.as_bytes()).await.is_err() {
                        break;
                    }
                }
            }
        }
        heard
    }
}

/// Raises the limit on open files as far as permitted, and returns whether that is enough.
pub fn has_descriptors(wanted: usize) -> bool {
    let wanted = u64::try_from(wanted).unwrap();
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return true;
    }
    let raised = Rlimit {
        current: limit.maximum.map_or(Some(wanted), |most| Some(most.min(wanted))),
        ..limit
    };
    limit.maximum.is_none_or(|most| most >= wanted) && setrlimit(Resource::Nofile, raised).is_ok()
}

fn open_files(service: &Doorward) -> usize {
    fs::read_dir(format!("/proc/{}/fd", service.id())).map_or(0, Iterator::count)
}

/// The processor time that it has taken, in clock ticks (`proc_pid_stat(5)`, fields 14 and 15).
fn ticks(service: &Doorward) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", service.id())).unwrap();
    let (_, after_the_name) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = after_the_name.split(' ').collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}

fn address_of(service: &Doorward) -> SocketAddr {
    service.url.strip_prefix("http://").unwrap().parse().unwrap()
}
