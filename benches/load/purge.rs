//! The purge of a long revocation list: its effect on other requests.

use std::thread;
use std::time::Duration;

use super::clients::{Latencies, now, on_schedule};
use super::data::Data;
use super::report::{Figure, Report};
use super::service::{STRICT, Service, Tokens};

/// A purge begins when the clock has run steadily for the lifetime of an access token: as short as
/// possible.
const SHORT: (&str, &str) = ("TOKENS__LIFETIME", "1m");

/// Each has a session of its own.
const USERS: u32 = 1000;

/// Clients that verify, and as many that refresh.
const CLIENTS: u32 = 16;

/// Requests a second of either kind.
const PER_SECOND: u32 = 200;

/// Between two counts of the remaining rows.
const STRETCH: Duration = Duration::from_secs(5);

/// Far longer than it takes to begin and to complete.
const PURGE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Purges this many expired revocations while others verify and refresh.
pub fn purge(rows: u32, report: &mut Report) {
    let data = Data::of(USERS);
    data.revoke(rows, Duration::ZERO);
    let service = Service::start(&data, &[STRICT, SHORT]);
    let mut tokens = service.tokens(&data, 2 * CLIENTS);
    let (mut quiet, mut purging) = (Felt::default(), Felt::default());
    let (mut left, mut stretches) = (data.revocations(), 0);
    let began = now();
    while left > 0 {
        assert!(now() - began < PURGE_TIMEOUT, "{left} of {rows} are left");
        let felt = Felt::of(&service, &mut tokens);
        let before = std::mem::replace(&mut left, data.revocations());
        let seen = if left == before { &mut quiet } else { &mut purging };
        stretches += u32::from(left != before);
        *seen = Felt {
            verify: std::mem::take(&mut seen.verify).and(felt.verify),
            refresh: std::mem::take(&mut seen.refresh).and(felt.refresh),
        };
    }
    let a_second = f64::from(rows) / (STRETCH * stretches).as_secs_f64();
    report.add(Figure::new(format!("purge of {rows} revocations"), a_second, "/s"));
    for (path, purging, quiet) in
        [("/verify", purging.verify, quiet.verify), ("/refresh", purging.refresh, quiet.refresh)]
    {
        for (name, per_mille) in [("p99", 990), ("the slowest", 1000)] {
            let what = format!("{path} beside the purge, {name}");
            let figure = Figure::new(what, purging.millis(per_mille), "ms");
            report.add(figure.over("before it", quiet.millis(per_mille)));
        }
    }
}

/// Request durations, from when they were due.
#[derive(Default)]
struct Felt {
    verify: Latencies,
    refresh: Latencies,
}

impl Felt {
    /// Durations in one stretch. The access tokens would expire in a longer one.
    fn of(service: &Service, tokens: &mut [Tokens]) -> Self {
        let (address, half) = (service.address, tokens.len() / 2);
        let (verifying, refreshing) = tokens.split_at_mut(half);
        let felt = thread::scope(|scope| {
            let verify = scope.spawn(|| {
                on_schedule(address, verifying, PER_SECOND, STRETCH, |client, own| {
                    client.get("/verify", &own.access).expect(200);
                })
            });
            let refresh = on_schedule(address, refreshing, PER_SECOND, STRETCH, |client, own| {
                own.renew(client);
            });
            Self { verify: verify.join().unwrap(), refresh }
        });
        // They swap roles.
        tokens.rotate_left(half);
        felt
    }
}
