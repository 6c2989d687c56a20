//! What Doorward does in a second, beside a floor measured in the same run on the same machine.
//!
//! `cargo bench` takes the median of three runs of each figure; `cargo bench -- --quick` takes one
//! short run. A figure is a ratio: machines differ, and the same machine differs from hour to hour.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that fails is none")]

mod client;
mod refresh;
mod report;
mod service;

#[path = "../../tests/api/support/postgres.rs"]
#[expect(dead_code, reason = "it is the tests', who need more of it")]
mod postgres;

use std::time::Duration;

use report::Report;

/// How long and how often each thing is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Of one run.
    pub time: Duration,
    /// Of which the median counts.
    pub runs: usize,
}

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let effort = if is_quick {
        Effort { time: Duration::from_secs(2), runs: 1 }
    } else {
        Effort { time: Duration::from_secs(8), runs: 3 }
    };
    let mut report = Report::default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(refresh::on_postgres(effort, &mut report));
    report.print();
}
