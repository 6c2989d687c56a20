//! Other programs that tests need.

#![expect(clippy::disallowed_methods, reason = "none of these is a setting of Doorward's")]

use std::env;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running program, with its child processes. All of them end when this is dropped, or when this
/// process ends in any way.
pub struct Program {
    guard: Child,
}

impl Program {
    /// Starts it in this working directory. Its output goes to the file `log` there.
    pub fn start(program: &Path, arguments: &[&str], directory: &Path) -> Self {
        // The shell waits for the end of its input, which is this process's end, and then ends its
        // own process group.
        let script = r#""$@" </dev/null >log 2>&1 & read -r _; trap "" TERM; kill -TERM 0; wait"#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(program).args(arguments).current_dir(directory);
        let guard = shell.stdin(Stdio::piped()).process_group(0).spawn().unwrap();
        Self { guard }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The paths of programs. If one of them is missing, a test is skipped with a notice or, if that is
/// not allowed (`CI` is set), fails.
///
/// # Panics
/// When `CI` is set and one is missing.
pub fn find<const N: usize>(names: [&str; N], packages: &str) -> Option<[PathBuf; N]> {
    let on_path = env::var_os("PATH").unwrap_or_default();
    let folders = || env::split_paths(&on_path).chain([PathBuf::from("/usr/sbin")]);
    let find = |name: &str| folders().map(|it| it.join(name)).find(|path| path.is_file());
    let found = names.map(find);
    if found.iter().all(Option::is_some) {
        return Some(found.map(Option::unwrap));
    }
    left_out(&format!("not all of {names:?} were found (Debian: {packages})"));
    None
}

/// The path of libfaketime, which shows another time to a process that loads it. Without it a test
/// is skipped in the same way.
///
/// # Panics
/// When `CI` is set and it is missing.
pub fn libfaketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let library = |folder: PathBuf| folder.join("faketime/libfaketime.so.1");
    let found = folders.map(|folder| library(folder.path())).find(|path| path.is_file());
    if found.is_none() {
        left_out("libfaketime.so.1 was not found (Debian: libfaketime)");
    }
    found
}

/// Says that a test is skipped or, if that is not allowed (`CI` is set), fails.
///
/// # Panics
/// When `CI` is set.
pub fn left_out(missing: &str) {
    assert!(env::var_os("CI").is_none(), "{missing}");
    say_left_out(missing);
}

/// The same for a test that may be skipped: not every user can run it.
pub fn say_left_out(missing: &str) {
    // Bypasses the harness, which hides the output of passing tests.
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(io::stderr(), "\n*** {missing}: {name} IS SKIPPED.\n");
}

/// An unused port of 127.0.0.1.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
