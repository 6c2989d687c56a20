//! Many subscribers of the revocation feed during many logouts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Effort;
use super::clients::{median, on_schedule, rate};
use super::data::Data;
use super::report::{Figure, Report};
use super::requests::{log_in, next_of};
use super::service::{STRICT, Service, Tokens, client};

const USERS: u32 = 50_000;
const SUBSCRIBERS: usize = 1_000;

/// Logouts a second.
const LOGOUTS: u32 = 200;

/// Clients of each kind that measure how fast the service still is.
const CLIENTS: u32 = 8;

/// The cost of the subscribers, and their effect on others: logins and refreshes during the
/// logouts, without subscribers and with them.
pub fn subscribers(effort: Effort, report: &mut Report) {
    let data = Data::of(USERS);
    let follower = client(&data);
    let credentials = STANDARD.encode(format!("{}:{}", follower.id, follower.secret));
    let service = Service::start(&data, &[STRICT]);
    let mut tokens = service.tokens(&data, CLIENTS);
    let (users, sessions) = (AtomicU32::new(0), AtomicU32::new(CLIENTS));
    let run = |tokens: &mut [Tokens]| {
        let log_out = || {
            on_schedule(service.address, &mut [(); 16], LOGOUTS, 2 * effort.time, |client, ()| {
                let token = data.refresh_token(next_of(&sessions));
                client.post("/logout", &[("refresh_token", &token)]).expect(204);
            })
        };
        thread::scope(|scope| {
            let latencies = scope.spawn(log_out);
            let logins = rate(service.address, &mut [(); 8], effort.time, |client, ()| {
                log_in(client, &data, next_of(&users));
            });
            let refreshes = rate(service.address, tokens, effort.time, |client, own| {
                own.renew(client);
            });
            (logins, refreshes, latencies.join().unwrap().millis(990))
        })
    };
    let mut without: [Vec<f64>; 2] = Default::default();
    let mut with: [Vec<f64>; 2] = Default::default();
    let (mut heard, mut logouts) = (0, Vec::new());
    for _ in 0..effort.runs {
        let (logins, refreshes, _) = run(&mut tokens);
        without[0].push(logins);
        without[1].push(refreshes);
        let following = Following::start(service.address, &credentials);
        let (logins, refreshes, p99) = run(&mut tokens);
        with[0].push(logins);
        with[1].push(refreshes);
        logouts.push(p99);
        heard += following.stop();
    }
    assert!(heard > 0, "the subscribers receive nothing");
    let memory = service.peak_memory();
    let with_them = format!("with {SUBSCRIBERS} subscribers and {LOGOUTS} logouts a second");
    report.add(Figure::new(format!("peak memory {with_them}"), memory, "MiB").at_most(100.0));
    for (what, (with, without)) in ["login", "refresh"].iter().zip(with.into_iter().zip(without)) {
        let figure = Figure::new(format!("{what} {with_them}"), median(with), "/s");
        report.add(figure.over("without the subscribers", median(without)).at_least(0.9));
    }
    report.add(Figure::new(format!("logout {with_them}, p99"), median(logouts), "ms"));
}

/// Subscribers, all on one thread.
struct Following {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl Following {
    /// Returns when all of them are connected.
    fn start(address: SocketAddr, credentials: &str) -> Self {
        let request = format!(
            "GET /revocations HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n\
             authorization: Basic {credentials}\r\n\r\n"
        );
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, (told, ready)) = (Arc::clone(&is_over), std::sync::mpsc::channel());
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let bytes = Arc::new(AtomicU64::new(0));
                let mut all = Vec::new();
                for _ in 0..SUBSCRIBERS {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let mut first = [0; 12];
                    stream.read_exact(&mut first).await.unwrap();
                    assert_eq!(&first, b"HTTP/1.1 200");
                    all.push(tokio::spawn(follow(stream, Arc::clone(&bytes))));
                }
                told.send(()).unwrap();
                while !over.load(Ordering::Relaxed) {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                assert!(all.iter().all(|one| !one.is_finished()), "a subscriber was rejected");
                bytes.load(Ordering::Relaxed)
            })
        });
        ready.recv().unwrap();
        Self { is_over, thread }
    }

    /// The number of bytes that they received.
    fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

async fn follow(mut stream: TcpStream, bytes: Arc<AtomicU64>) {
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}
