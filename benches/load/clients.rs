//! Many concurrent clients: closed loop (as fast as they are answered) or open loop (on a
//! schedule).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use doorward::clock::Clock;

use super::client::Client;

pub fn now() -> Instant {
    Clock::system().monotonic()
}

/// The rate per second of `work` when each client repeats it as soon as it is answered. Each has
/// one of the `states`.
pub fn rate<S: Send>(
    address: SocketAddr,
    states: &mut [S],
    time: Duration,
    work: impl Fn(&mut Client, &mut S) + Sync,
) -> f64 {
    let work = &work;
    repeated(states, time, |state| {
        let mut client = Client::connect(address);
        move || work(&mut client, state)
    })
}

/// The rate per second of the work that `prepare` creates from each state, each on a separate
/// thread.
pub fn repeated<'a, S: Send, W: FnMut()>(
    states: &'a mut [S],
    time: Duration,
    prepare: impl Fn(&'a mut S) -> W + Sync,
) -> f64 {
    let count = AtomicU64::new(0);
    let began = now();
    thread::scope(|scope| {
        for state in states {
            let (prepare, count) = (&prepare, &count);
            scope.spawn(move || {
                let mut work = prepare(state);
                while (now() - began) < time {
                    work();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let count = u32::try_from(count.into_inner()).unwrap();
    f64::from(count) / (now() - began).as_secs_f64()
}

/// Runs `work` at this rate, whether or not earlier calls have returned, and returns how long each
/// took from when it was due. The states are the clients; there must be enough of them.
pub fn on_schedule<S: Send>(
    address: SocketAddr,
    states: &mut [S],
    per_second: u32,
    time: Duration,
    work: impl Fn(&mut Client, &mut S) + Sync,
) -> Latencies {
    let (began, step) = (now(), Duration::from_secs(1) / per_second);
    let clients = u32::try_from(states.len()).unwrap();
    let all = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, state) in (0_u32..).zip(states) {
            let work = &work;
            threads.push(scope.spawn(move || {
                let mut client = Client::connect(address);
                let mut taken = Vec::new();
                let mut due = began + step * number;
                while due < began + time {
                    thread::sleep(due.saturating_duration_since(now()));
                    work(&mut client, &mut *state);
                    taken.push(now() - due);
                    due += step * clients;
                }
                taken
            }));
        }
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    Latencies::of(all)
}

/// Request durations, sorted.
#[derive(Clone, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    pub fn and(self, other: Self) -> Self {
        Self::of([self.0, other.0].concat())
    }

    /// A quantile in milliseconds, per mille.
    pub fn millis(&self, per_mille: usize) -> f64 {
        let place = (self.0.len() * per_mille / 1000).min(self.0.len() - 1);
        self.0[place].as_secs_f64() * 1e3
    }
}

/// The median.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
