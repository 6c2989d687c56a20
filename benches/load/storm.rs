//! Mixed loads: requests of all kinds, and a storm of logins.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::Effort;
use super::client::Client;
use super::clients::{Latencies, median, on_schedule, rate};
use super::data::Data;
use super::report::{Figure, Report};
use super::requests::{log_in, next_of};
use super::service::{STRICT, Service, Tokens};

/// Users in the database, of the mixed load and of the storm.
pub const USERS: u32 = 50_000;

/// Clients of the mixed load.
const MIXED: u32 = 32;

/// Clients that log in without a pause.
const STORMING: usize = 50;

/// Requests a second that are sent meanwhile, regardless of the responses.
const ME: u32 = 200;
const REFRESH: u32 = 100;

/// Enough clients that these are sent on schedule, unless each takes a third of a second.
const SENDERS: u32 = 64;

/// Seven in ten requests read the profile, one in four refreshes, 4 % log in, 1 % log out.
pub struct Mix<'a> {
    data: &'a Data,
    /// The next user to log in, and the next unused session.
    next_user: AtomicU32,
    next_session: AtomicU32,
    /// The number of login retries.
    pub put_off: AtomicU32,
}

/// A client of the mixed load: how many requests it has sent, and its session.
pub type Mixed = (u32, Tokens);

impl<'a> Mix<'a> {
    /// With this many clients.
    pub fn of(data: &'a Data, service: &Service, clients: u32) -> (Self, Vec<Mixed>) {
        let put_off = AtomicU32::new(0);
        let (next_user, next_session) = (AtomicU32::new(0), AtomicU32::new(clients));
        let clients = (0..).zip(service.tokens(data, clients)).collect();
        (Self { data, next_user, next_session, put_off }, clients)
    }

    /// The client's next request.
    pub fn send(&self, client: &mut Client, (turn, own): &mut Mixed) {
        *turn += 1;
        // A step that is prime to 100 mixes the kinds.
        match *turn * 37 % 100 {
            0..70 => drop(client.get("/me", &own.access).expect(200)),
            70..95 => own.renew(client),
            95..99 => {
                // Another device of the account; this client continues with its own session.
                let put_off = log_in(client, self.data, next_of(&self.next_user));
                self.put_off.fetch_add(put_off, Ordering::Relaxed);
            }
            _ => {
                client.post("/logout", &[("refresh_token", &own.refresh)]).expect(204);
                own.refresh = self.data.refresh_token(next_of(&self.next_session));
                own.renew(client);
            }
        }
    }
}

/// All kinds at once.
pub fn mixed(effort: Effort, report: &mut Report) {
    let data = Data::of(USERS);
    let service = Service::start(&data, &[STRICT]);
    let idle = service.memory();
    let (mix, mut clients) = Mix::of(&data, &service, MIXED);
    let rates = effort.each(|| {
        rate(service.address, &mut clients, effort.time, |client, own| mix.send(client, own))
    });
    let what = format!("mixed load, {MIXED} clients: 70 % me, 25 % refresh, 4 % login, 1 % logout");
    report.add(Figure::new(what, median(rates), "/s"));
    report.add(Figure::new("memory after the start", idle, "MiB"));
    let peak = service.peak_memory();
    report.add(Figure::new("peak memory after the mixed load", peak, "MiB").at_most(64.0));
}

/// Latencies of other requests in a storm, from when they were due.
pub struct Felt {
    pub me: Latencies,
    pub refresh: Latencies,
}

/// This many clients log in without a pause, while others refresh and read their profile at their
/// usual rate.
pub fn storm(effort: Effort, report: &mut Report) -> Felt {
    let data = Data::of(USERS);
    let service = Service::start(&data, &[STRICT]);
    let address = service.address;
    let mut tokens = service.tokens(&data, 2 * SENDERS);
    let idle = service.memory();
    let time = 2 * effort.time;
    let users = AtomicU32::new(0);
    let storming = || {
        rate(address, &mut [(); STORMING], time, |client, ()| {
            log_in(client, &data, next_of(&users));
        })
    };
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut felt = Felt { me: Latencies::default(), refresh: Latencies::default() };
    for _ in 0..effort.runs {
        alone.push(storming());
        let (reading, refreshing) = tokens.split_at_mut(usize::try_from(SENDERS).unwrap());
        let (logins, me, refresh) = thread::scope(|scope| {
            let logins = scope.spawn(storming);
            let me = scope.spawn(|| {
                on_schedule(address, reading, ME, time, |client, own| {
                    client.get("/me", &own.access).expect(200);
                })
            });
            let refresh = on_schedule(address, refreshing, REFRESH, time, |client, own| {
                own.renew(client);
            });
            (logins.join().unwrap(), me.join().unwrap(), refresh)
        });
        beside.push(logins);
        felt = Felt { me: felt.me.and(me), refresh: felt.refresh.and(refresh) };
    }
    let floor = "the same alone";
    let what = format!("logins of the storm, {STORMING} clients");
    report.add(Figure::new(what, median(beside), "/s").over(floor, median(alone)).at_least(0.9));
    for (path, felt, bound) in [("/me", &felt.me, 10.0), ("/refresh", &felt.refresh, 25.0)] {
        let figure = |name, per_mille| {
            Figure::new(format!("{path} in the storm, {name}"), felt.millis(per_mille), "ms")
        };
        report.add(figure("p50", 500));
        report.add(figure("p99", 990).at_most(bound));
        report.add(figure("the slowest", 1000));
    }
    let more = service.peak_memory() - idle;
    report.add(Figure::new("memory above idle in the storm", more, "MiB").at_most(64.0));
    felt
}
