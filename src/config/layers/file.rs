//! The TOML file.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use toml::Table;

use super::table::flatten;
use super::{Layers, SettingSource};
use crate::config::ConfigError;

impl Layers {
    pub(in crate::config) fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        fs::read_to_string(path)
            .map_err(|error| unreadable(path, &error))
            .and_then(|text| self.read_toml(path, &text))
    }

    /// Reads the default file and returns whether it exists. Another user may have put it into the
    /// working directory, so it must belong to this user or to the system.
    pub(in crate::config) fn read_file_if_there(
        &mut self,
        path: &Path,
    ) -> Result<bool, ConfigError> {
        let opened = fs::symlink_metadata(path).and_then(|link| Ok((link, File::open(path)?)));
        let (link, file) = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(unreadable(path, &error)),
            Ok(opened) => opened,
        };
        let about = file.metadata().map_err(|error| unreadable(path, &error))?;
        if let Some(problem) = ownership_fault(&link).or_else(|| ownership_fault(&about)) {
            let remedy = "if it is yours, chmod 644 it or name it with --config; otherwise run this \
                          elsewhere";
            return Err(ConfigError::new(path.display().to_string(), problem, remedy));
        }
        let text = io::read_to_string(file).map_err(|error| unreadable(path, &error))?;
        self.read_toml(path, &text).map(|()| true)
    }

    fn read_toml(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table = text.parse::<Table>().map_err(|error| {
            // The error's own Display would show the line, and with it a secret.
            let start = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(start).filter(|&byte| byte == b'\n').count();
            let problem = format!("line {line} is not TOML: {}", error.message());
            ConfigError::new(path.display().to_string(), problem, "correct that line")
        })?;
        let mut settings = BTreeMap::new();
        flatten("", table, &mut settings);
        for (name, value) in settings {
            // An empty section sets nothing.
            if !(value.as_table().is_some_and(Table::is_empty) && self.is_section(&name)) {
                self.set(&name, value, SettingSource::File(path.to_owned()))?;
            }
        }
        Ok(())
    }
}

/// Why users other than this one and root control a file's contents.
fn ownership_fault(about: &Metadata) -> Option<String> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let owner = about.uid();
    // The mode of a symbolic link is meaningless.
    let mode = if about.is_symlink() { 0 } else { about.mode() };
    // The primary group of many users has no other member.
    let by_group = mode & 0o020 != 0 && about.gid() != group.as_raw();
    if owner != 0 && owner != user.as_raw() {
        Some(format!("it belongs to another user (uid {owner})"))
    } else if mode & 0o002 != 0 || by_group {
        Some(format!("others can write to it (its mode is {:o})", mode & 0o777))
    } else {
        None
    }
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let remedy = "name a file that this user can read";
    ConfigError::new(path.display().to_string(), format!("it cannot be read: {error}"), remedy)
}
