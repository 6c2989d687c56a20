//! A mixed load for a long time, to find resources that grow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::clients::{median, now, on_schedule};
use super::data::Data;
use super::report::{Figure, Report};
use super::service::{STRICT, Service};
use super::storm::{Mix, USERS};

/// Enough clients that requests are sent on schedule.
const CLIENTS: u32 = 64;

/// Requests a second: they leave one core of two free.
const PER_SECOND: u32 = 500;

/// How often the service's memory and files are sampled, in total.
const LOOKS: u32 = 360;

/// Sends this many requests a second for this time, and compares the service's resources in the
/// last third with those in the third before. An unexpected response ends it.
pub fn soak(time: Duration, report: &mut Report) {
    let data = Data::of(USERS);
    let service = Service::start(&data, &[STRICT]);
    let (mix, mut clients) = Mix::of(&data, &service, CLIENTS);
    let is_over = AtomicBool::new(false);
    let (latencies, seen) = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (began, mut seen) = (now(), Vec::new());
            while !is_over.load(Ordering::Relaxed) {
                let due = began + time / LOOKS * u32::try_from(seen.len()).unwrap();
                thread::sleep(due.saturating_duration_since(now()));
                seen.push((service.memory(), service.open_files()));
            }
            seen
        });
        let latencies =
            on_schedule(service.address, &mut clients, PER_SECOND, time, |client, own| {
                mix.send(client, own);
            });
        is_over.store(true, Ordering::Relaxed);
        (latencies, watching.join().unwrap())
    });
    let what = format!("mixed load, {PER_SECOND} requests a second: p99 from when they were due");
    report.add(Figure::new(what, latencies.millis(990), "ms"));
    let put_off = f64::from(mix.put_off.load(Ordering::Relaxed));
    report.add(Figure::new("answers with a 5xx", put_off, "").at_most(0.0));
    let (memory, files): (Vec<f64>, Vec<f64>) = seen.into_iter().unzip();
    for (what, unit, figures) in [("memory", "MiB", memory), ("open files", "", files)] {
        let third = figures.len() / 3;
        let [before, last] = [third..2 * third, 2 * third..figures.len()];
        let figure =
            Figure::new(format!("{what} in the last third"), median(figures[last].to_vec()), unit);
        let floor = median(figures[before].to_vec());
        report.add(figure.over("in the third before", floor).at_most(1.05));
    }
}
