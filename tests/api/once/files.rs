//! Files that vanish, are replaced, or lie open to others: what is noticed, and what is refused.

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
