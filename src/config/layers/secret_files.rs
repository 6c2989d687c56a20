//! Settings that hold a secret, and the files that hold their values.

use std::fs;
use std::path::Path;

use toml::Value;
use zeroize::Zeroizing;

use super::file::unreadable;
use crate::config::ConfigError;

/// Settings that hold a secret; `<name>_file` sets them too.
pub(super) const SECRETS: [&str; 4] = ["database_url", "email.url", "secret", "previous_secret"];

pub(super) fn read_secret(path: &Path) -> Result<Value, ConfigError> {
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| unreadable(path, &error))?);
    // Some editors put a byte order mark at the start of a file.
    match text.trim_start_matches('\u{feff}').trim() {
        "" => Err(ConfigError::new(
            path.display().to_string(),
            "it is empty",
            "write the secret into it",
        )),
        secret => Ok(Value::String(secret.to_owned())),
    }
}

pub(super) fn holds_secret(setting: &str, value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    // A URL may have no password.
    let is_url = matches!(setting, "database_url" | "email.url");
    SECRETS.contains(&setting) && (!is_url || text.contains('@'))
}
