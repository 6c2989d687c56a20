//! `doorward hash …`: the cost of password hashing on this machine.

use std::time::Duration;

use clap::{Subcommand, value_parser};
use serde_json::json;

use super::AdminError;
use crate::clock::Clock;
use crate::config::Config;
use crate::passwords::{Calibrated, HashCost, calibrate};

/// The subcommands of `doorward hash`.
#[derive(Subcommand)]
pub enum HashCommand {
    /// Find Argon2id parameters for a given time and memory on this machine
    ///
    /// It measures, prints the lines for the settings, and changes nothing. It never goes below
    /// OWASP's minimum. Existing hashes are upgraded at each owner's next login.
    #[command(
        after_help = "Example: doorward hash calibrate --seconds 0.25 --memory-kib 65536\nRun it \
                      where the service will run, while the machine is quiet."
    )]
    Calibrate {
        /// How long a hash may take, in seconds
        #[arg(long, value_name = "SECONDS", default_value = "0.25", value_parser = seconds)]
        seconds: Duration,
        /// Memory of each hashing thread [default: `passwords.memory_kib`]
        #[arg(
            long,
            value_name = "KIB",
            value_parser = value_parser!(u32)
                .range(i64::from(HashCost::OWASP_MEMORY_KIB)..=i64::from(HashCost::MAX_MEMORY_KIB))
        )]
        memory_kib: Option<u32>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let bounds = Duration::from_millis(1)..=Duration::from_secs(10);
    seconds
        .filter(|seconds| bounds.contains(seconds))
        .ok_or_else(|| String::from("write a number of seconds from 0.001 to 10, as in 0.25"))
}

/// Runs a command and returns the text to print.
///
/// # Errors
/// [`AdminError`].
pub fn hash(config: &Config, command: &HashCommand) -> Result<String, AdminError> {
    let HashCommand::Calibrate { seconds, memory_kib, json } = command;
    let memory_kib = memory_kib.unwrap_or(config.passwords.memory_kib);
    let found = calibrate(*seconds, memory_kib, &Clock::system())?;
    let Calibrated { cost: HashCost { memory_kib, iterations, parallelism }, took } = found;
    if *json {
        let took = took.as_secs_f64();
        let found = json!({
            "memory_kib": memory_kib, "iterations": iterations, "parallelism": parallelism,
            "seconds": took,
        });
        return Ok(format!("{found}\n"));
    }
    let threads = config.passwords.hashing_threads();
    let mut text = format!(
        "# A hash takes {:.3} s here; {threads} hashing threads take {} MiB of memory.\n",
        took.as_secs_f64(),
        u64::from(memory_kib) * u64::try_from(threads).unwrap_or(u64::MAX) / 1024,
    );
    if took > *seconds {
        text += "# That is longer than requested: these are the minimum parameters that OWASP \
                 advises.\n";
    }
    if took > config.passwords.queue_deadline {
        text += "# That is longer than a hash may wait (queue_deadline): raise it, too.\n";
    }
    let lines = format!(
        "[passwords]\nmemory_kib = {memory_kib}\niterations = {iterations}\nparallelism = \
         {parallelism}\n"
    );
    Ok(text + &lines)
}
