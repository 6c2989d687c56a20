//! Files that vanish, are replaced, or are readable by others: detection and rejection.

mod left;
mod permissions;
mod vanished;

use std::process::Command;

use crate::support::binary::run;

const EMAIL: &str = "ada@example.com";

#[track_caller]
fn refused(command: &mut Command) -> String {
    let refusal = run(command);
    assert!(!refusal.status.success(), "{}", refusal.stderr);
    refusal.stderr
}
