//! The configuration: every setting is defined once.
//!
//! A value comes from the last of these that sets it: the default in `settings`, the TOML file
//! (`--config`, else `DOORWARD_CONFIG`, else `doorward.toml` in the working directory if it
//! exists), a variable, a flag. The setting `lifetime` in the section `[tokens]` is the variable
//! `DOORWARD_TOKENS__LIFETIME` and the flag `--set tokens.lifetime=10m`; a list in a variable or a
//! flag is separated by commas. Durations are text (`10m`, `30s`, `90d`) or plain seconds. An empty
//! `public_url`, `database_url` or secret leaves the previous layer's value in place. A setting
//! that holds a secret can be read from a file: `secret_file` names it, in the TOML file, as a
//! variable and as a flag.
//!
//! Nothing is guessed: an unknown key, an unknown `DOORWARD_` variable and a value out of bounds
//! are errors, each one line that names the setting, its source, the problem and the remedy. This
//! is the only module that reads the environment.
//!
//! `doorward config` prints the effective settings as TOML, with their documentation and with
//! secrets hidden. Its output on a fresh machine is the sample file.

mod derived;
mod error;
mod flags;
mod layers;
mod master_secret;
mod privacy;
mod renamed;
mod render;
mod serde_formats;
mod settings;
mod single_values;
mod validate;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;

pub use error::{ConfigError, one_line};
pub use flags::Flags;
pub use master_secret::{MasterSecrets, SecretFile};
pub use privacy::refuse_world_readable;
pub use settings::{
    AccountsConfig, AdminConfig, AuditConfig, Config, CookiesConfig, CorsConfig, DatabaseConfig,
    DocsConfig, EmailConfig, EmailLinksConfig, LimitsConfig, LogConfig, LogFormat, MetricsConfig,
    PasswordsConfig, Registration, RequireSecondFactor, RevocationSync, RevocationsConfig,
    SameSite, SessionsConfig, TlsConfig, TokensConfig, Verification,
};
pub use single_values::{check_origin, database_of, parse_duration};

use layers::Layers;

/// The effective settings and their sources.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings, validated.
    pub config: Config,
    /// The source of each setting that is not at its default, by its dotted name.
    sources: BTreeMap<String, String>,
    /// The files that hold a secret, each with its setting.
    secret_files: Vec<(&'static str, PathBuf)>,
    /// The files from which a setting's value was read.
    named_files: BTreeMap<String, PathBuf>,
    /// The configuration file.
    file: Option<PathBuf>,
}

impl Loaded {
    /// Returns the settings, or an error if every user of the machine can read a file that holds
    /// one of their secrets. The owner's group may read it.
    ///
    /// # Errors
    /// [`ConfigError`] for the first such file.
    pub fn private(self) -> Result<Config, ConfigError> {
        for (setting, path) in &self.secret_files {
            if let Ok(about) = path.metadata() {
                refuse_world_readable(setting, path, &about)?;
            }
        }
        Ok(self.config)
    }

    /// The configuration file that was read, if any.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether no setting locates the database, so that it depends on the working directory.
    #[must_use]
    pub fn has_default_database(&self) -> bool {
        ["database_url", "data_dir"].iter().all(|name| !self.sources.contains_key(*name))
    }

    /// The files that hold a secret, each with its setting.
    #[must_use]
    pub fn secret_files(&self) -> &[(&'static str, PathBuf)] {
        &self.secret_files
    }
}

/// Reads the settings from the file, the environment and the flags.
///
/// # Errors
/// [`ConfigError`] when a setting is unknown or invalid, or a file cannot be read.
pub fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
    load_from(flags, std::env::vars_os(), Path::new(""))
}

/// The listening socket inherited from the parent process, such as systemd (`LISTEN_FDS`), if any.
/// To be called once.
///
/// # Errors
/// When there are several, or it is not a TCP socket.
pub fn inherited_socket() -> io::Result<Option<TcpListener>> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() > 1 {
        return Err(io::Error::other(format!("there are {}", sockets.len())));
    }
    sockets.take_tcp_listener(0)
}

fn load_from(
    flags: &Flags,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    working_directory: &Path,
) -> Result<Loaded, ConfigError> {
    let mut variables = layers::own_variables(variables)?;
    let named = variables.remove("DOORWARD_CONFIG").filter(|path| !path.is_empty());
    let mut layers = Layers::new();
    let found = working_directory.join("doorward.toml");
    let file = match flags.config.clone().or(named.map(PathBuf::from)) {
        Some(path) => layers.read_file(&path).map(|()| Some(path))?,
        None => layers.read_file_if_there(&found)?.then_some(found),
    };
    layers.read_variables(variables)?;
    layers.read_flags(flags)?;
    let loaded = Loaded { file, ..layers.merge()? };
    loaded.config.validate().map_err(|error| error.with_source_from(&loaded.sources))?;
    Ok(loaded)
}

#[cfg(test)]
mod tests;
