//! Mail: whether the time of a response tells that an account exists, and the cost of messages that
//! wait.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use doorward::secret::random_bytes;

use super::Effort;
use super::client::Client;
use super::clients::{median, now, rate};
use super::data::{Data, PASSWORD};
use super::report::{Figure, Report};
use super::requests::{log_in, next_of};
use super::service::{STRICT, Service, Tokens};

const USERS: u32 = 50_000;

/// Requests for known and for unknown addresses each, and in a quick run.
const REQUESTS: [usize; 2] = [1_000, 100];

/// Messages that wait for a mail server that is unreachable.
const WAITING: u32 = 100_000;

/// Clients of each kind that measure how fast the service still is.
const CLIENTS: u32 = 8;

/// A code that is wrong, except with a probability of 2^-40.
const WRONG_CODE: &str = "0000-0000";

/// Wrong codes that a request accepts.
const WRONG_CODES: usize = 5;

pub fn mail(is_quick: bool, effort: Effort, report: &mut Report) {
    same_times(REQUESTS[usize::from(is_quick)], report);
    waiting(effort, report);
}

/// Compares the times of responses for known and unknown addresses, in random order.
fn same_times(requests: usize, report: &mut Report) {
    let data = Data::of(USERS);
    let settings = [
        ("EMAIL__URL", "file:"),
        ("EMAIL__MAX_ROWS", "1000000"),
        ("ACCOUNTS__VERIFICATION", "required"),
    ];
    let service = Service::start(&data, &settings);
    let mut client = Client::connect(service.address);
    let mut number = 0;
    let mut address = |is_known: bool| {
        number += 1;
        if is_known { data.email(number) } else { format!("nobody{number}@example.com") }
    };
    let forgot = times(requests, |is_known| {
        let email = address(is_known);
        vec![timed(|| {
            client.post("/password/forgot", &[("email", &email)]).expect(202);
        })]
    });
    report.add(difference("/password/forgot", &forgot));
    let register = times(requests, |is_known| {
        let email = address(is_known);
        let members = [("email", &*email), ("password", PASSWORD)];
        vec![timed(|| {
            client.post("/register", &members).expect(202);
        })]
    });
    report.add(difference("/register with verification", &register));
    let wrong_codes = times(requests / WRONG_CODES, |is_known| {
        let email = address(is_known);
        let answer = client.post("/password/forgot", &[("email", &email)]).expect(202);
        let request = answer.text("request").to_owned();
        let members = [("request", &*request), ("code", WRONG_CODE), ("password", PASSWORD)];
        let mut wrong = || {
            client.post("/password/reset", &members).expect(400);
        };
        (0..WRONG_CODES).map(|_| timed(&mut wrong)).collect()
    });
    report.add(difference("/password/reset with wrong codes", &wrong_codes));
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = now();
    work();
    now() - began
}

/// The times for unknown and for known addresses, of this many calls each.
fn times(calls: usize, mut call: impl FnMut(bool) -> Vec<Duration>) -> [Vec<Duration>; 2] {
    let mut left = [calls, calls];
    let mut times = [Vec::new(), Vec::new()];
    while left != [0, 0] {
        let [random] = random_bytes::<1>();
        let is_known = left[0] == 0 || (left[1] > 0 && random % 2 == 1);
        left[usize::from(is_known)] -= 1;
        times[usize::from(is_known)].extend(call(is_known));
    }
    times
}

/// How far the area under the curve is from one half, which means that times tell nothing.
fn difference(what: &str, [unknown, known]: &[Vec<Duration>; 2]) -> Figure {
    let mut sorted = unknown.clone();
    sorted.sort_unstable();
    let rank = |time: &Duration| {
        let below = sorted.partition_point(|it| it < time);
        let up_to = sorted.partition_point(|it| it <= time);
        f64::from(u32::try_from(below + up_to).unwrap()) / 2.0
    };
    let pairs = f64::from(u32::try_from(known.len() * unknown.len()).unwrap());
    let area = known.iter().map(rank).sum::<f64>() / pairs;
    let what =
        format!("{what}, times of known and unknown addresses: area under the curve, less ½");
    Figure::new(what, (area - 0.5).abs(), "").at_most(0.05)
}

/// Compares logins and refreshes with this many waiting messages and with none.
fn waiting(effort: Effort, report: &mut Report) {
    let (without, with) = (Data::of(USERS), Data::of(USERS));
    with.wait_for_mail(WAITING);
    // No mail server listens on the discard port.
    let settings = [
        STRICT,
        ("EMAIL__URL", "smtp://127.0.0.1:9"),
        ("EMAIL__FROM", "Bench <bench@example.com>"),
        ("EMAIL__MAX_ROWS", "1000000"),
    ];
    let mut services = [&without, &with].map(|data| {
        let service = Service::start(data, &settings);
        (data, service.tokens(data, CLIENTS), AtomicU32::new(CLIENTS), service)
    });
    let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
    for _ in 0..effort.runs {
        for ((data, tokens, next, service), [logins, refreshes]) in
            services.iter_mut().zip(&mut rates)
        {
            logins.push(logins_of(service.address, data, next, effort));
            refreshes.push(refreshes_of(service.address, tokens, effort));
        }
    }
    let [floors, rates] = rates.map(|of_one| of_one.map(median));
    for ((what, rate), floor) in ["login", "refresh"].iter().zip(rates).zip(floors) {
        let what = format!("{what} with {WAITING} messages that wait");
        let figure = Figure::new(what, rate, "/s");
        report.add(figure.over("with none", floor).at_least(0.9));
    }
    let memory = services[1].3.peak_memory();
    let what = format!("peak memory with {WAITING} messages that wait");
    report.add(Figure::new(what, memory, "MiB").at_most(100.0));
}

fn logins_of(address: SocketAddr, data: &Data, next: &AtomicU32, effort: Effort) -> f64 {
    rate(address, &mut [(); CLIENTS as usize], effort.time, |client, ()| {
        log_in(client, data, next_of(next));
    })
}

fn refreshes_of(address: SocketAddr, tokens: &mut [Tokens], effort: Effort) -> f64 {
    rate(address, tokens, effort.time, |client, own| own.renew(client))
}
