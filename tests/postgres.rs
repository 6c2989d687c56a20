//! The tests of `api` on PostgreSQL: runs that test program again, with a variable that selects the
//! database, so that nothing is compiled twice. Arguments are passed on to it.
//!
//! It omits `once`, which does not depend on the kind of database, and the tests of `support`
//! itself. Tests that need PostgreSQL or several nodes are in `tests/nodes`.

use std::env;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> io::Result<ExitCode> {
    let mut tests = Command::new(env!("CARGO"));
    tests.args(["test", "--locked", "--test", "api", "--profile", profile()]);
    if cfg!(feature = "postgres-tls") {
        tests.args(["--features", "postgres-tls"]);
    }
    tests.args(["--", "--skip", "once::", "--skip", "support::"]).args(env::args_os().skip(1));
    let status = tests.env("DOORWARD_TEST_DATABASE", "postgres").status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The profile that this program was built with: the program to run again is built with it, too.
fn profile() -> &'static str {
    let folder = Path::new(env!("CARGO_BIN_EXE_doorward")).parent();
    match folder.and_then(Path::file_name).and_then(|name| name.to_str()) {
        Some("debug") | None => "test",
        Some(name) => name,
    }
}
