//! The tests of `api` on PostgreSQL: runs that test program again, with the variable that chooses
//! the database, so that nothing is compiled twice. Arguments go to it as to any test program.
//!
//! It leaves out `once`, where the kind of database makes no difference, and the tests of `support`
//! itself. Tests that only PostgreSQL or several nodes can have are in `tests/nodes`.

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
