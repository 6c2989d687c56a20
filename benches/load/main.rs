//! Doorward's throughput and latency, compared with floors measured in the same run on the same
//! machine.
//!
//! `cargo bench` takes the median of seven short runs of each figure, in about a quarter of an
//! hour; `cargo bench -- --quick` takes one, in about a minute. If there is a floor, the ratio is
//! the figure: machines differ, and the same machine differs from hour to hour.
//!
//! The service is the release binary as a separate process, with its default settings except the
//! limits by address and session, on SQLite in the target directory unless stated otherwise; its
//! log goes to a file. The clients are threads of this process, on the same cores.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed measurement is an error")]

mod blocklist;
mod client;
mod clients;
mod connections;
mod data;
mod feed;
mod floor;
mod mail;
mod picture;
mod postgres;
mod purge;
mod report;
mod requests;
mod resource;
mod service;
mod size;
mod soak;
mod storm;

#[path = "../../tests/support/postgres.rs"]
#[expect(dead_code, reason = "the tests share it and use more of it")]
mod cluster;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use report::Report;

/// Duration and number of the runs.
#[derive(Clone, Copy)]
struct Effort {
    /// Duration of one run.
    time: Duration,
    /// Number of runs, of which the median counts.
    runs: usize,
}

impl Effort {
    fn each(self, mut run: impl FnMut() -> f64) -> Vec<f64> {
        (0..self.runs).map(|_| run()).collect()
    }
}

#[derive(Parser)]
struct Cli {
    /// Run only these groups
    groups: Vec<Group>,
    /// One short run of each figure
    #[arg(long)]
    quick: bool,
    /// Write the figures as JSON to this file (`-`: to standard output)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw storm.svg, throughput.svg and users.svg into this directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Duration of the soak
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    soak: Duration,
    /// Run as a server with an empty handler
    #[arg(long, hide = true)]
    serve: Option<SocketAddr>,
    /// The same for holders of this issuer's tokens only, with this client for the feed
    #[arg(long, hide = true, num_args = 3, value_names = ["URL", "CLIENT", "SECRET"])]
    guard: Vec<String>,
    /// Passed by cargo to every benchmark
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
    /// A long revocation list
    Blocklist,
    /// Subscribers of the revocation feed
    Feed,
    /// The memory of connections with an unfinished body
    Connections,
    /// Times for known and unknown addresses, and messages that wait
    Mail,
    /// The mixed load for an hour (only on request)
    Soak,
    /// The purge of a long revocation list (only on request: it begins after two minutes)
    Purge,
}

/// Without the long ones.
const ALL: [Group; 10] = [
    Group::Requests,
    Group::Writes,
    Group::Postgres,
    Group::Mixed,
    Group::Storm,
    Group::Size,
    Group::Blocklist,
    Group::Feed,
    Group::Connections,
    Group::Mail,
];

fn main() {
    let cli = Cli::parse();
    if let Some(address) = cli.serve {
        return match &cli.guard[..] {
            [issuer, client, secret] => resource::serve_guarded(address, issuer, [client, secret]),
            _ => resource::serve_bare(address),
        };
    }
    // Figures that are compared are measured in turns, which must be short, because a machine's
    // speed changes within seconds.
    let (seconds, runs) = if cli.quick { (1, 1) } else { (2, 7) };
    let (effort, many) = (
        Effort { time: Duration::from_secs(seconds), runs },
        if cli.quick { 50_000 } else { 1_000_000 },
    );
    let groups = if cli.groups.is_empty() { &ALL[..] } else { &cli.groups };
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
            Group::Size => {
                let costs = size::growth(many, effort, &mut report);
                if let Some(directory) = &cli.svg {
                    picture::costs(&costs, directory).unwrap();
                }
            }
            Group::Blocklist => blocklist::long_list(many, effort, &mut report),
            Group::Feed => feed::subscribers(effort, &mut report),
            Group::Connections => connections::unfinished(&mut report),
            Group::Mail => mail::mail(cli.quick, effort, &mut report),
            Group::Purge => purge::purge(many, &mut report),
            Group::Soak => soak::soak(cli.soak, &mut report),
        }
    }
    report.print();
    if let Some(file) = &cli.json {
        report.write_json(file).unwrap();
    }
}
