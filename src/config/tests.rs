mod bounds;
mod names;
mod printing;
mod renamed;
mod secrets;
mod sources;
mod values;

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::database::DatabaseUrl;
use crate::secret::{MasterSecret, Purpose, Secret};

/// A fixture: a working directory, an environment and a command line.
struct ConfigFixture {
    directory: TempDir,
    variables: Vec<(OsString, OsString)>,
    flags: Flags,
}

impl ConfigFixture {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        Self { directory, variables: Vec::new(), flags: Flags::default() }
    }

    fn file(self, text: &str) -> Self {
        fs::write(self.directory.path().join("doorward.toml"), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn set(mut self, setting: &str) -> Self {
        self.flags.set.push(setting.into());
        self
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load_from(&self.flags, self.variables.clone(), self.directory.path())
    }

    fn config(&self) -> Config {
        self.load().unwrap().config
    }

    fn error(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

fn secret() -> String {
    MasterSecret::generate().to_text().to_string()
}

#[test]
fn the_issuer_is_the_bound_address_without_a_public_url() {
    let config = Config::default();
    config.validate().unwrap();
    assert_eq!(config.issuer("127.0.0.1:4711".parse().unwrap()), "http://127.0.0.1:4711");
}

#[test]
fn an_error_is_one_line_for_every_input() {
    let error = ConfigFixture::new().set("a\nb\u{1b}=1").error();
    assert!(error.starts_with("a\\u000ab\\u001b (flag --set): "), "{error}");
}
