//! Commands in a directory of their own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Every command that needs an existing database.
pub const COMMANDS: [&[&str]; 28] = [
    &["user", "list"],
    &["user", "show", "ada@example.com"],
    &["user", "add", "ada@example.com", "--password-file", "-"],
    &["user", "delete", "ada@example.com", "--yes"],
    &["user", "disable", "ada@example.com"],
    &["user", "enable", "ada@example.com"],
    &["user", "end-sessions", "ada@example.com"],
    &["user", "set-password", "ada@example.com", "--password-file", "-"],
    &["user", "set-email", "ada@example.com", "ada@example.org"],
    &["user", "invite", "ada@example.com"],
    &["user", "mail-reset", "ada@example.com"],
    &["user", "mark-verified", "ada@example.com"],
    &["user", "reset-factors", "ada@example.com"],
    &["session", "list", "--user", "ada@example.com"],
    &["session", "end", "019ab3e1-0b52-7e90-a2c6-5d41f7b80a93"],
    &["session", "end", "--without-factor"],
    &["client", "add", "--name", "Orders"],
    &["client", "list"],
    &["client", "remove", "019ab3e1-0b52-7e90-a2c6-5d41f7b80a93"],
    &["key", "list"],
    &["key", "rotate"],
    &["key", "retire", "a"],
    &["key", "revoke", "a"],
    &["audit"],
    &["mail", "queue"],
    &["db", "check"],
    &["db", "after-restore", "--yes"],
    &["doctor"],
];

/// These commands and those that create a database.
pub fn with_makers() -> impl Iterator<Item = &'static [&'static str]> {
    COMMANDS.into_iter().chain([&["serve"][..], &["db", "migrate"]])
}

/// Without settings and files: only the working directory counts.
pub fn bare(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.env_clear().current_dir(folder).args(arguments).stdin(std::process::Stdio::null());
    command.env("DOORWARD_PASSWORDS__QUEUE_DEADLINE", "10s");
    command
}

#[track_caller]
pub fn refused(command: &mut Command, says: &[&str]) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(matches!(status.code(), Some(1 | 2)), "{command:?}: {status}");
    let all = format!("{stdout}{stderr}");
    let is_line = |line: &&str| says.iter().all(|part| line.contains(part)) && line.contains("; ");
    assert!(all.lines().any(|line| is_line(&line)), "{command:?}: {all}");
    // The doctor prints more.
    let is_doctor = command.get_args().any(|argument| argument == "doctor");
    assert!(is_doctor || all.lines().count() == 1, "{command:?}: {all}");
}

pub fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}
