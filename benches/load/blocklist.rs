//! A long list of revocations: what it takes, what it slows down, and what others feel of its purge.

use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::Duration;

use super::Effort;
use super::client::Client;
use super::clients::{Latencies, median, now, on_schedule, rate};
use super::data::Data;
use super::report::{Figure, Report};
use super::requests::next_of;
use super::service::{STRICT, Service, Tokens};

const USERS: u32 = 50_000;

/// Clients that verify, and as many that log out.
const CLIENTS: u32 = 16;

/// Requests a second of each kind while the purge is at work.
const PER_SECOND: u32 = 100;

/// Clients that send them: enough that none is waited for.
const SENDERS: u32 = 32;

/// As short as tokens may live: the purge waits for as long, and until the next full minute.
const LIFETIME: (&str, &str) = ("TOKENS__LIFETIME", "1m");

/// By then the purge has begun, and ended.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often the database is asked whether it has.
const LOOK: Duration = Duration::from_millis(500);

/// How long the requests beside it are sent at a time; their tokens have to live for as long.
const STRETCH: Duration = Duration::from_secs(5);

/// So many revocations, beside none.
pub fn long_list(rows: u32, effort: Effort, report: &mut Report) {
    let (without, with) = (Data::of(USERS), Data::of(USERS));
    let (_, bytes_without) = with.size();
    with.revoke(rows, Duration::from_secs(60 * 60));
    let (_, bytes) = with.size();
    let each = |bytes: f64| bytes / f64::from(rows);
    let bytes = f64::from(u32::try_from(bytes - bytes_without).unwrap());
    report.add(Figure::new("a revocation in the database", each(bytes), "bytes"));

    let services = [&without, &with].map(|data| {
        // The first start makes the signing key.
        drop(Service::start(data, &[]));
        let service = Service::start(data, &[STRICT]);
        // Whoever logs out has a session that nobody else uses.
        (data, service.tokens(data, CLIENTS), AtomicU32::new(CLIENTS), service)
    });
    let [(.., small), (.., large)] = &services;
    let more = (large.memory() - small.memory()) * 1024.0 * 1024.0;
    report.add(Figure::new("a revocation in memory", each(more), "bytes"));
    let started = large.ready_after.as_secs_f64() * 1e3;
    report.add(Figure::new(format!("start-up until ready, {rows} revocations"), started, "ms"));

    let mut costs: [[Vec<f64>; 2]; 2] = Default::default();
    for _ in 0..effort.runs {
        for ((data, tokens, next, service), [checks, logouts]) in services.iter().zip(&mut costs) {
            let mut tokens: Vec<&Tokens> = tokens.iter().collect();
            checks.push(rate(service.address, &mut tokens, effort.time, |client, own| {
                client.get("/verify", &own.access).expect(200);
            }));
            let mut clients = [(); CLIENTS as usize];
            logouts.push(rate(service.address, &mut clients, effort.time, |client, ()| {
                let token = data.refresh_token(next_of(next));
                client.post("/logout", &[("refresh_token", &token)]).expect(204);
            }));
        }
    }
    let [floors, rates] = costs.map(|of_one| of_one.map(median));
    for ((what, rate), floor) in ["/verify", "logout"].iter().zip(rates).zip(floors) {
        let what = format!("{what} with {rows} revocations");
        report.add(Figure::new(what, rate, "/s").over("with none", floor));
    }
}

/// What others feel while so many expired revocations are purged, beside what they felt before.
pub fn purge(rows: u32, report: &mut Report) {
    let data = Data::of(USERS);
    data.revoke(rows, Duration::ZERO);
    let service = Service::start(&data, &[STRICT, LIFETIME]);
    let mut tokens = service.tokens(&data, 2 * SENDERS);
    let mut stretch = || {
        let (reading, refreshing) = tokens.split_at_mut(usize::try_from(SENDERS).unwrap());
        let mut client = Client::connect(service.address);
        for own in reading.iter_mut() {
            own.renew(&mut client);
        }
        thread::scope(|scope| {
            let verify = scope.spawn(|| {
                on_schedule(service.address, reading, PER_SECOND, STRETCH, |client, own| {
                    client.get("/verify", &own.access).expect(200);
                })
            });
            let refresh =
                on_schedule(service.address, refreshing, PER_SECOND, STRETCH, |client, own| {
                    own.renew(client);
                });
            [verify.join().unwrap(), refresh]
        })
    };
    let before = stretch();
    let began = now();
    let left = || {
        assert!(now() - began < PATIENCE, "the purge does not come to its end");
        data.revocations()
    };
    while left() >= i64::from(rows) {
        thread::sleep(LOOK);
    }
    let purging = now();
    let mut beside = [(); 2].map(|()| Latencies::default());
    while left() > 0 {
        for (felt, new) in beside.iter_mut().zip(stretch()) {
            *felt = std::mem::take(felt).and(new);
        }
    }
    let took = (now() - purging).as_secs_f64();
    report.add(Figure::new(format!("the purge of {rows} revocations"), took, "s"));
    for ((path, beside), before) in ["/verify", "/refresh"].iter().zip(beside).zip(before) {
        for (name, per_mille) in [("p99", 990), ("the slowest", 1000)] {
            let figure = Figure::new(
                format!("{path} beside the purge, {name}"),
                beside.millis(per_mille),
                "ms",
            );
            report.add(figure.over("before it", before.millis(per_mille)));
        }
    }
}
