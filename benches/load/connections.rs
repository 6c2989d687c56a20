//! The memory of connections with an unfinished request body, compared with idle ones.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::clients::now;
use super::data::Data;
use super::report::{Figure, Report};
use super::service::Service;

const CONNECTIONS: u16 = 5_000;

/// After the last connection was made: its request has been read by then, and no body has timed
/// out.
const SETTLED: Duration = Duration::from_secs(2);

/// KiB that a connection with an unfinished body may take beyond an idle one: 60 MiB for all.
const MORE: f64 = 12.0;

/// MiB that may stay after the connections: each worker keeps 256 requests for reuse, with their
/// read buffers.
const KEPT: f64 = 20.0;

/// How long to wait for memory to be returned, in seconds.
const GIVEN_BACK: f64 = 60.0;

/// How often memory is read meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

const IDLE: &str = "GET /healthz HTTP/1.1\r\nhost: bench\r\n\r\n";

const JSON: &str = "POST /login HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
    content-length: 65536\r\n\r\n{";

const FORM: &str = "POST /token HTTP/1.1\r\nhost: bench\r\n\
    content-type: application/x-www-form-urlencoded\r\ncontent-length: 65536\r\n\r\na";

/// The memory of a connection that has announced 64 KiB and sent one byte, and how long the service
/// keeps it after all of them have ended.
pub fn unfinished(report: &mut Report) {
    raise_descriptors();
    let data = Data::of(0);
    let idle = Taken::by(&data, IDLE).each;
    let json = Taken::by(&data, JSON).each;
    let form = Taken::by(&data, FORM);
    for (what, each) in [("JSON", json), ("a form", form.each)] {
        let what = format!("a connection with an unfinished body ({what}), of {CONNECTIONS}");
        report.add(Figure::new(&*what, each, "KiB").over("an idle connection", idle));
        let figure = Figure::new(format!("{what}, beyond an idle one"), each - idle, "KiB");
        report.add(figure.at_most(MORE));
    }
    let what = format!("until all but {KEPT} MiB of it is returned");
    report.add(Figure::new(what, form.seconds_until_given_back(), "s").at_most(GIVEN_BACK));
}

/// The memory that connections took from a service that had none before.
struct Taken {
    service: Service,
    /// MiB before the first connection.
    start: f64,
    /// KiB.
    each: f64,
}

impl Taken {
    /// Measured with this number of connections with this request, which have been closed.
    fn by(data: &Data, request: &str) -> Self {
        let service = Service::start(data, &[]);
        let start = service.memory();
        let connect = |_| {
            let mut stream = TcpStream::connect(service.address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        };
        let streams: Vec<_> = (0..CONNECTIONS).map(connect).collect();
        thread::sleep(SETTLED);
        let each = (service.memory() - start) * 1024.0 / f64::from(CONNECTIONS);
        assert!(service.open_files() > f64::from(CONNECTIONS), "not all connections are accepted");
        for stream in &streams {
            assert_eq!(has_answer(stream), request == IDLE, "{request}");
        }
        Self { service, start, each }
    }

    fn seconds_until_given_back(&self) -> f64 {
        let began = now();
        loop {
            let waited = (now() - began).as_secs_f64();
            if waited > GIVEN_BACK || self.service.memory() <= self.start + KEPT {
                return waited;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

fn has_answer(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut status = [0; 12];
    match stream.read(&mut status) {
        Ok(read) => {
            assert_eq!(&status[..read], b"HTTP/1.1 200");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    }
}

/// As far as the system permits; the service inherits the limit.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let is_enough = limit.maximum.is_none_or(|most| most > u64::from(CONNECTIONS) + 500);
    assert!(is_enough, "{CONNECTIONS} connections need a higher `ulimit -Hn`");
}
