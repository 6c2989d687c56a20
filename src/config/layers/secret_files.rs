//! Settings that hold a secret, and the files that hold their values.

use std::fs;
use std::path::Path;

use toml::Value;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::file::unreadable;
use crate::config::ConfigError;

/// A setting that holds a secret; `<name>_file` sets it too.
pub(super) struct SecretSetting {
    pub(super) name: &'static str,
    /// A URL, which holds a secret only if it names a password.
    is_url: bool,
}

pub(super) const SECRETS: [SecretSetting; 4] = [
    SecretSetting { name: "database_url", is_url: true },
    SecretSetting { name: "email.url", is_url: true },
    SecretSetting { name: "secret", is_url: false },
    SecretSetting { name: "previous_secret", is_url: false },
];

impl SecretSetting {
    /// The setting with this name, if it is one of [`SECRETS`].
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        SECRETS.iter().find(|secret| secret.name == name)
    }

    /// Whether this value of the setting contains a secret.
    pub(super) fn is_in(&self, value: &Value) -> bool {
        !self.is_url || has_password(value.as_str().unwrap_or_default())
    }
}

/// Whether a URL names a password: before an `@`, or as libpq's parameters do.
fn has_password(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    url.contains('@') || parameters.any(|(name, _)| name == "password" || name == "sslpassword")
}

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
