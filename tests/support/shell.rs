//! Lines of the documentation, run by bash in a directory of their own.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::binary::{Doorward, PATIENT, SLOWLY, printed};

/// The address in the documentation.
const URL: &str = "http://127.0.0.1:8080";

/// A directory with Doorward's default data folder, and bash with `doorward` on its `PATH`.
pub struct Shell {
    pub home: TempDir,
    /// The address that replaces the one of the documentation.
    url: String,
}

impl Shell {
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), url: URL.to_owned() }
    }

    /// Bash with these lines. The settings are the defaults, except for the port and deadlines.
    pub fn bash(&self, lines: &str) -> Command {
        let mut bash = Command::new("bash");
        let programs = Path::new(env!("CARGO_BIN_EXE_doorward")).parent().unwrap();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display());
        bash.env_clear().current_dir(self.home.path()).env("HOME", self.home.path());
        bash.env("PATH", path).env("DOORWARD_LISTEN", "127.0.0.1:0").envs([PATIENT, SLOWLY]);
        bash.args(["-e", "-u", "-c", &lines.replace(URL, &self.url)]);
        bash
    }

    /// Starts the service by these lines, of which the last one is the start.
    pub fn start(&mut self, lines: &str) -> Doorward {
        let (before, start) = lines.trim_end().rsplit_once('\n').unwrap_or(("", lines));
        let service = Doorward::start(&mut self.bash(&format!("{before}\nexec {start}")));
        self.url.clone_from(&service.url);
        service
    }

    /// The output of these lines.
    #[track_caller]
    pub fn run(&self, lines: &str) -> String {
        printed(&mut self.bash(lines))
    }

    /// The output of these lines, after a login whose tokens are in `ACCESS` and `REFRESH`.
    #[track_caller]
    pub fn run_logged_in(&self, email: &str, password: &str, lines: &str) -> String {
        let login = format!(
            r#"TOKENS=$(curl -sS {URL}/login --json '{{"email":"{email}","password":"{password}"}}')
               ACCESS=$(printf %s "$TOKENS" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
               REFRESH=$(printf %s "$TOKENS" | sed 's/.*"refresh_token":"\([^"]*\)".*/\1/')"#
        );
        self.run(&format!("{login}\n{lines}"))
    }
}
