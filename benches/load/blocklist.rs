//! A long revocation list: its size and its effect on latency.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::Effort;
use super::clients::{median, rate};
use super::data::Data;
use super::report::{Figure, Report};
use super::requests::next_of;
use super::service::{STRICT, Service, Tokens};

/// More than log out in total.
const USERS: u32 = 200_000;

/// Clients that verify, and as many that log out.
const CLIENTS: u32 = 16;

/// Compares with this many revocations and with none.
pub fn long_list(rows: u32, effort: Effort, report: &mut Report) {
    let (without, with) = (Data::of(USERS), Data::of(USERS));
    let (_, bytes_without) = with.size();
    with.revoke(rows, Duration::from_secs(60 * 60));
    let (_, bytes) = with.size();
    let each = |bytes: f64| bytes / f64::from(rows);
    let bytes = f64::from(u32::try_from(bytes - bytes_without).unwrap());
    report.add(Figure::new("a revocation in the database", each(bytes), "bytes"));

    let services = [&without, &with].map(|data| {
        // The first start generates the signing key.
        drop(Service::start(data, &[]));
        let service = Service::start(data, &[STRICT]);
        // Each logout uses a session that nothing else uses.
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
