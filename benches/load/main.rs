//! What Doorward does in a second, beside floors measured in the same run on the same machine.
//!
//! `cargo bench` takes the median of three runs of each figure, in about ten minutes; `cargo bench --
//! --quick` takes one short run, in about one. Where there is a floor the ratio is the figure:
//! machines differ, and the same machine differs from hour to hour.
//!
//! The service is the release binary as a process of its own, with its default settings but for the
//! limits by address and session, on SQLite in the target directory where nothing else is said; its
//! log goes to a file. The clients are threads of this process, on the same cores.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that fails is none")]

mod client;
mod clients;
mod data;
mod feed;
mod floor;
mod picture;
mod postgres;
mod report;
mod requests;
mod service;
mod size;
mod storm;

#[path = "../../tests/api/support/postgres.rs"]
#[expect(dead_code, reason = "it is the tests', who need more of it")]
mod cluster;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use report::Report;

/// How long and how often each thing is measured.
#[derive(Clone, Copy)]
struct Effort {
    /// Of one run.
    time: Duration,
    /// Of which the median counts.
    runs: usize,
}

impl Effort {
    fn each(self, mut run: impl FnMut() -> f64) -> Vec<f64> {
        (0..self.runs).map(|_| run()).collect()
    }
}

#[derive(Parser)]
struct Cli {
    /// Only these groups
    groups: Vec<Group>,
    /// One short run of each
    #[arg(long)]
    quick: bool,
    /// Write the figures as JSON to this file (`-`: to standard output)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw storm.svg and throughput.svg into this directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Be the floor of the requests that read
    #[arg(long, hide = true)]
    serve_bare: Option<SocketAddr>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Logins, verification, the profile, refreshes inside the window
    Requests,
    /// Refreshes and logouts on SQLite
    Writes,
    /// Refreshes on PostgreSQL
    Postgres,
    /// All at once
    Mixed,
    /// A storm of logins
    Storm,
    /// Start-up, sizes, and costs with many users
    Size,
    /// Subscribers of the feed
    Feed,
}

fn main() {
    let cli = Cli::parse();
    if let Some(address) = cli.serve_bare {
        return floor::serve_bare(address);
    }
    let seconds = if cli.quick { 1 } else { 5 };
    let runs = if cli.quick { 1 } else { 3 };
    let (effort, many) = (
        Effort { time: Duration::from_secs(seconds), runs },
        if cli.quick { 50_000 } else { 1_000_000 },
    );
    let groups = if cli.groups.is_empty() { Group::value_variants() } else { &cli.groups };
    let mut report = Report::new(cli.quick);
    if let Some(directory) = &cli.svg {
        fs::create_dir_all(directory).unwrap();
    }
    let began = clients::now();
    for (number, group) in groups.iter().enumerate() {
        let name = group.to_possible_value().unwrap();
        let (seconds, of) = ((clients::now() - began).as_secs(), groups.len());
        eprintln!("[{}/{of}, after {seconds} s] {}", number + 1, name.get_name());
        match group {
            Group::Requests => requests::of_one_kind(effort, &mut report),
            Group::Writes => {
                let throughput = requests::writes(effort, &mut report);
                if let Some(directory) = &cli.svg {
                    picture::throughput(&throughput, directory).unwrap();
                }
            }
            Group::Postgres => postgres::refreshes(effort, &mut report),
            Group::Mixed => storm::mixed(effort, &mut report),
            Group::Storm => {
                let felt = storm::storm(effort, &mut report);
                if let Some(directory) = &cli.svg {
                    picture::latencies(&felt, directory).unwrap();
                }
            }
            Group::Size => size::growth(many, effort, &mut report),
            Group::Feed => feed::subscribers(effort, &mut report),
        }
    }
    report.print();
    if let Some(file) = &cli.json {
        report.write_json(file).unwrap();
    }
}
