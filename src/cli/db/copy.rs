//! `doorward db copy`: its progress and its table.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::DataProblem;
use super::operations::{self, Compared, CopyRole, CopyStep, Progress};
use crate::cli::print;
use crate::config;

const AFTER_COPY: &str = "\
All data is in the target. Next:
- Start Doorward with DOORWARD_DATABASE_URL set to the target's URL.
- Give it the same master secret: DOORWARD_SECRET_FILE (beside SQLite, the file `secret` in the data
  directory). With it every session continues.
- Do not use the source any more: later writes there are not in the target.
";

/// The arguments of `doorward db copy`.
#[derive(Args)]
pub struct CopyArgs {
    /// The database to copy: `sqlite://PATH` or `postgres://…`
    #[arg(long, value_name = "URL")]
    from: String,
    /// The database to fill, which must be empty
    #[arg(long, value_name = "URL")]
    to: String,
    /// Only compare row counts and checksums of every table
    #[arg(long)]
    verify: bool,
}

pub(super) fn copy(args: &CopyArgs) -> Result<(), Box<dyn Error>> {
    let from = config::database_of("--from", &args.from)?;
    let to = config::database_of("--to", &args.to)?;
    let mut bar = Bar::new();
    let mut watch = |progress| bar.show(progress);
    let compared = if args.verify {
        operations::compare(&from, &to, &mut watch)?
    } else {
        operations::copy(&from, &to, &mut watch)?
    };
    bar.done();
    print(&table(&compared))?;
    match (compared.iter().all(Compared::is_equal), args.verify) {
        (true, true) => print("Both databases hold the same data.\n"),
        (true, false) => print(AFTER_COPY),
        (false, true) => Err(DataProblem::Difference.into()),
        (false, false) => Err(DataProblem::BadCopy.into()),
    }
}

fn table(compared: &[Compared]) -> String {
    let mut text = String::new();
    let mut line = |cells: [&str; 5]| {
        let [table, source, target, checksum, verdict] = cells;
        let _ = writeln!(text, "{table:<16}{source:>12}{target:>12}  {checksum:<36}{verdict}");
    };
    line(["table", "source", "target", "checksum", ""]);
    for Compared { table, source, target } in compared {
        let (checksum, verdict) = if source == target {
            (source.short(), "equal")
        } else {
            (format!("{} {}", source.short(), target.short()), "DIFFERENT")
        };
        let (source, target) = (source.rows.to_string(), target.rows.to_string());
        line([table, &source, &target, &checksum, verdict]);
    }
    text
}

/// The progress of a copy: a bar for a terminal, one line per table for a log.
struct Bar {
    bar: ProgressBar,
    shown: Option<(&'static str, CopyStep)>,
}

impl Bar {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{msg:<28} {bar:32} {pos}/{len}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        // It draws on standard error, and nothing if that is not a terminal.
        Self { bar: ProgressBar::new(0).with_style(style), shown: None }
    }

    fn show(&mut self, progress: Progress) {
        let Progress { table, step, done, of } = progress;
        if self.shown != Some((table, step)) {
            self.shown = Some((table, step));
            let what = match step {
                CopyStep::Copy => format!("copy {table}"),
                CopyStep::Compare(CopyRole::Source) => format!("checksum {table} in source"),
                CopyStep::Compare(CopyRole::Target) => format!("checksum {table} in target"),
            };
            if self.bar.is_hidden() {
                let _ = writeln!(io::stderr(), "{what}: {of} rows");
            }
            self.bar.set_message(what);
            self.bar.set_length(of);
        }
        self.bar.set_position(done);
    }

    fn done(&self) {
        self.bar.finish_and_clear();
    }
}
