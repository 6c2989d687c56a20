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

mod layers;
mod master_secret;
mod privacy;
mod renamed;
mod render;
mod serde_formats;
mod settings;
mod validate;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use std::{fmt, io};

use listenfd::ListenFd;
use serde::de::IntoDeserializer as _;
use serde::de::value::StrDeserializer;

pub use master_secret::{MasterSecrets, SecretFile};
pub use settings::{
    AuditConfig, Config, CookiesConfig, CorsConfig, DatabaseConfig, LimitsConfig, LogConfig,
    LogFormat, MetricsConfig, PasswordsConfig, RevocationSync, RevocationsConfig, SameSite,
    SessionsConfig, TlsConfig, TokensConfig, WhenStale,
};

use crate::database::DatabaseUrl;
use crate::secret::Secret;
use layers::Layers;

/// The effective settings and their sources.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings, validated.
    pub config: Config,
    /// The source of each setting that is not at its default, by its dotted name.
    origins: BTreeMap<String, String>,
    /// The files that hold a secret, each with its setting.
    secret_files: Vec<(String, PathBuf)>,
    /// The files from which a setting's value was read.
    named_files: BTreeMap<String, PathBuf>,
    /// The configuration file.
    file: Option<PathBuf>,
}

impl Loaded {
    /// The settings, unless every user of the machine can read a file that holds one of their
    /// secrets. The owner's group may read it.
    ///
    /// # Errors
    /// [`ConfigError`] for the first such file.
    pub fn private(self) -> Result<Config, ConfigError> {
        for (setting, path) in &self.secret_files {
            if let Ok(about) = path.metadata() {
                refuse_open_to_all(setting, path, &about)?;
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
        ["database_url", "data_dir"].iter().all(|name| !self.origins.contains_key(*name))
    }

    /// The files that hold a secret, each with its setting.
    #[must_use]
    pub fn secret_files(&self) -> &[(String, PathBuf)] {
        &self.secret_files
    }
}

/// The flags that concern settings.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct Flags {
    /// The TOML file with the settings [default: doorward.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// The URL under which clients reach Doorward
    #[arg(long, global = true, value_name = "URL")]
    pub public_url: Option<String>,
    /// The directory for Doorward's data
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub data_dir: Option<String>,
    /// `sqlite://PATH` or `postgres://…` (other users of this machine can read command lines)
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Log level: off, error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Any setting; `doorward config` lists them
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
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

/// The database that a flag names.
///
/// # Errors
/// [`ConfigError`] when the URL is not a valid SQLite or PostgreSQL URL.
pub fn database_of(flag: &str, url: &str) -> Result<DatabaseUrl, ConfigError> {
    DatabaseUrl::parse(&Secret::new(url.to_owned()))
        .map_err(|error| ConfigError::new(format!("flag {flag}"), error.problem, error.remedy))
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
    loaded.config.validate().map_err(|error| error.with_origin_from(&loaded.origins))?;
    Ok(loaded)
}

/// Rejects a file with a secret that every user of the machine can read; `subject` names its source
/// in the error. The owner's group may read it. A pipe or another special file has no other reader.
///
/// # Errors
/// [`ConfigError`] when it is open to all.
pub fn refuse_open_to_all(subject: &str, path: &Path, about: &Metadata) -> Result<(), ConfigError> {
    let mode = about.permissions().mode();
    if !about.is_file() || !privacy::is_open_to_all(mode) {
        return Ok(());
    }
    let problem = format!(
        "{} holds it, and every user of this machine can read that file (its mode is {:o})",
        path.display(),
        mode & 0o777
    );
    Err(ConfigError::new(subject, problem, privacy::close(path)))
}

/// Checks a web origin from outside the settings; `subject` names its source in the error.
///
/// # Errors
/// [`ConfigError`] when it is not in the form that browsers send.
pub fn check_origin(subject: &str, text: &str) -> Result<(), ConfigError> {
    validate::origin(text).map_err(|error| ConfigError { subject: subject.to_owned(), ..error })
}

/// Parses a duration from outside the settings; `subject` names its source in the error.
///
/// # Errors
/// [`ConfigError`] when it is malformed or out of bounds.
pub fn parse_duration(
    subject: &str,
    text: &str,
    bounds: RangeInclusive<Duration>,
) -> Result<Duration, ConfigError> {
    let spelled: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    let duration = serde_formats::duration::deserialize(spelled).map_err(|error| {
        ConfigError::new(subject, error.to_string(), "write it as in 5m, 30s or 0s")
    })?;
    validate::duration_in_range(subject, duration, bounds)?;
    Ok(duration)
}

impl Config {
    /// The issuer, without a trailing slash: `public_url`, or the address that the server is bound
    /// to.
    #[must_use]
    pub fn issuer(&self, bound: SocketAddr) -> String {
        match self.public_url.trim_end_matches('/') {
            "" => format!("{}://{bound}", if self.has_tls() { "https" } else { "http" }),
            url => url.to_owned(),
        }
    }

    /// Whether Doorward itself terminates TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        !self.tls.cert.as_os_str().is_empty()
    }

    /// Whether clients use https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        match self.public_url.as_str() {
            "" => self.has_tls(),
            url => url.starts_with("https://"),
        }
    }

    /// Threads that process requests.
    #[must_use]
    pub fn worker_threads(&self) -> usize {
        or_cores(self.workers)
    }
}

impl PasswordsConfig {
    /// Threads that hash.
    #[must_use]
    pub fn hashing_threads(&self) -> usize {
        or_cores(self.threads)
    }

    /// The capacity of the hashing queue.
    #[must_use]
    pub fn queue_length(&self) -> usize {
        if self.queue_capacity == 0 { 16 * self.hashing_threads() } else { self.queue_capacity }
    }
}

fn or_cores(count: usize) -> usize {
    if count == 0 { thread::available_parallelism().map_or(1, usize::from) } else { count }
}

/// Why the settings are invalid: one line that names the setting, its source, the problem and the
/// remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    subject: String,
    origin: Option<String>,
    problem: String,
    remedy: String,
}

impl ConfigError {
    fn new(
        subject: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (subject, problem, remedy) = (subject.into(), problem.into(), remedy.into());
        Self { subject, origin: None, problem, remedy }
    }

    /// The text without the setting's name, for callers that name it themselves.
    #[must_use]
    pub fn without_subject(&self) -> String {
        one_line(&format!("{}; {}", self.problem, self.remedy)).into_owned()
    }

    fn with_origin(self, origin: impl Into<String>) -> Self {
        Self { origin: Some(origin.into()), ..self }
    }

    fn with_origin_from(self, origins: &BTreeMap<String, String>) -> Self {
        let origin = origins.get(&self.subject).map_or("default", String::as_str).to_owned();
        self.with_origin(origin)
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, origin, problem, remedy } = self;
        let origin = origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
        f.write_str(&one_line(&format!("{subject}{origin}: {problem}; {remedy}")))
    }
}

/// The text with its control characters escaped as in JSON, so that untrusted input can neither
/// start a line nor control a terminal.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let spelled = text.chars().fold(String::with_capacity(text.len()), |line, c| {
        if c.is_control() {
            line + &format!("\\u{:04x}", u32::from(c))
        } else {
            line + c.encode_utf8(&mut [0; 4])
        }
    });
    spelled.into()
}

#[cfg(test)]
mod tests;
