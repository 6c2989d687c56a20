//! Requests of one kind, from as many clients as maximise the rate.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use allocator_api2::alloc::Global;
use hugealloc::HugeAlloc;

use super::Effort;
use super::client::Client;
use super::clients::{median, rate};
use super::data::{Data, PASSWORD};
use super::floor;
use super::picture::Throughput;
use super::report::{Figure, Report};
use super::service::{STRICT, Service, Tokens};

const USERS: u32 = 50_000;

/// Clients that read: enough to keep every core busy.
const READERS: usize = 32;

/// Access tokens of each of them, used in turn.
const TOKENS_EACH: usize = 32;

/// Clients that log in: some wait while as many hash as there are cores.
const LOGGING_IN: usize = 8;

/// The pause between a rejected login and the retry.
const PAUSE: Duration = Duration::from_millis(50);

/// Clients that refresh or log out.
const WRITERS: [u32; 3] = [1, 16, 64];

/// Logins, verification, `/me`, and refreshes inside the window.
pub fn of_one_kind(effort: Effort, report: &mut Report) {
    let data = Data::of(USERS);
    let service = Service::start(&data, &[]);
    logins(&data, &service, effort, report);
    let tokens = service.tokens(&data, u32::try_from(READERS * TOKENS_EACH).unwrap());
    reads(&data, &service, &tokens, effort, report);
    let mut tokens: Vec<Tokens> = tokens.into_iter().take(64).collect();
    // Inside the window: the first one rotates, and all others get the same response.
    let answered = effort.each(|| {
        rate(service.address, &mut tokens, effort.time, |client, own| {
            client.post("/refresh", &[("refresh_token", &own.refresh)]).expect(200);
        })
    });
    let what = "refresh inside the window, 64 clients";
    report.add(Figure::new(what, median(answered), "/s"));
}

/// Continues where the last one stopped, for work that needs a new user each time.
pub fn next_of(counter: &AtomicU32) -> u32 {
    counter.fetch_add(1, Ordering::Relaxed)
}

fn logins(data: &Data, service: &Service, effort: Effort, report: &mut Report) {
    let users = AtomicU32::new(0);
    let (mut hashes, mut in_huge_pages, mut logins) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        hashes.push(floor::hashes(Global, effort.time));
        in_huge_pages.push(floor::hashes(HugeAlloc, effort.time));
        logins.push(rate(service.address, &mut [(); LOGGING_IN], effort.time, |client, ()| {
            log_in(client, data, next_of(&users));
        }));
    }
    let alone = format!("Argon2 alone, {} threads", floor::cores());
    let what = format!("login, {LOGGING_IN} clients");
    let figure = || Figure::new(&*what, median(logins.clone()), "/s");
    // The service requests huge pages, which a bare Argon2 program would not.
    let same_memory = format!("{alone}, huge pages");
    report.add(figure().over(same_memory, median(in_huge_pages)));
    report.add(figure().over(alone, median(hashes)).at_least(0.95));
}

/// Logs in, with retries while the service is overloaded. Returns the number of retries.
pub fn log_in(client: &mut Client, data: &Data, user: u32) -> u32 {
    let email = data.email(user);
    let credentials = [("email", &*email), ("password", PASSWORD)];
    let mut refused = 0;
    loop {
        let answer = client.post("/login", &credentials);
        if answer.status != 503 {
            answer.expect(200);
            return refused;
        }
        refused += 1;
        // The response says how many seconds; a storm ignores it.
        thread::sleep(PAUSE);
    }
}

fn reads(data: &Data, service: &Service, tokens: &[Tokens], effort: Effort, report: &mut Report) {
    let bare = Service::bare(data);
    let guarded = Service::guarded(data, service);
    let run = |service: &Service, path| {
        let mut turns: Vec<_> = tokens.chunks(TOKENS_EACH).map(|own| own.iter().cycle()).collect();
        rate(service.address, &mut turns, effort.time, |client, turns| {
            client.get(path, &turns.next().unwrap().access).expect(200);
        })
    };
    let mut constant = Vec::new();
    let (mut library, mut verify, mut me) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        constant.push(run(&bare, "/verify"));
        library.push(run(&guarded, "/verify"));
        verify.push(run(service, "/verify"));
        me.push(run(service, "/me"));
    }
    let (floor, constant) = ("a bare handler", median(constant));
    for (what, rates, bound) in [
        ("a service that verifies by the library", library, 0.8),
        ("/verify", verify, 0.8),
        ("/me", me, 0.3),
    ] {
        let what = format!("{what}, {READERS} clients");
        let figure = Figure::new(what, median(rates), "/s");
        report.add(figure.over(floor, constant).at_least(bound));
    }
}

/// Refreshes that are written, and logouts, by the number of clients.
pub fn writes(effort: Effort, report: &mut Report) -> Throughput {
    let data = Data::of(USERS);
    let service = Service::start(&data, &[STRICT]);
    let most = WRITERS[WRITERS.len() - 1];
    let mut tokens = service.tokens(&data, most);
    let mut points = Vec::new();
    let (mut fsyncs, mut refreshes) = (Vec::new(), vec![Vec::new(); WRITERS.len()]);
    for _ in 0..effort.runs {
        fsyncs.push(floor::transactions(&data, effort.time));
        for (clients, rates) in WRITERS.iter().zip(&mut refreshes) {
            let own = &mut tokens[..usize::try_from(*clients).unwrap()];
            rates.push(rate(service.address, own, effort.time, |client, own| own.renew(client)));
        }
    }
    let (floor, fsyncs) = ("one transaction an fsync", median(fsyncs));
    for (clients, rates) in WRITERS.iter().zip(refreshes) {
        let plural = if *clients == 1 { "client" } else { "clients" };
        let what = format!("refresh on SQLite, each a rotation, {clients} {plural}");
        let (rate, figure) = (median(rates.clone()), Figure::new(what, median(rates), "/s"));
        let figure = figure.over(floor, fsyncs);
        report.add(if *clients == most { figure.at_least(12.0) } else { figure });
        points.push((*clients, rate));
    }
    let sessions = AtomicU32::new(most);
    let logouts = effort.each(|| {
        rate(service.address, &mut [(); WRITERS[2] as usize], effort.time, |client, ()| {
            let token = data.refresh_token(next_of(&sessions));
            client.post("/logout", &[("refresh_token", &token)]).expect(204);
        })
    });
    let (last, floor) = (points[points.len() - 1].1, format!("refresh, {most} clients"));
    let what = format!("logout on SQLite, {most} clients");
    report.add(Figure::new(what, median(logouts), "/s").over(floor, last).at_least(0.5));
    Throughput { points, floor: fsyncs }
}
