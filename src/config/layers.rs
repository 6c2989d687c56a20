//! The layers: file, variables and flags over the defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io, mem};

use serde::Deserialize as _;
use toml::{Table, Value};
use zeroize::Zeroizing;

use super::{Config, ConfigError, Flags, Loaded, renamed};

/// Settings that hold a secret; `<name>_file` sets them too.
const SECRETS: [&str; 3] = ["database_url", "secret", "previous_secret"];

const PREFIX: &str = "DOORWARD_";

/// The values given so far. The defaults, as TOML, define which settings exist and into which TOML
/// type a variable's text is converted.
pub(super) struct Layers {
    guide: BTreeMap<String, Value>,
    given: BTreeMap<String, Given>,
}

struct Given {
    value: Value,
    origin: Origin,
    /// The value is the path of a file that holds the setting.
    in_file: bool,
}

enum Origin {
    File(PathBuf),
    Variable(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl Layers {
    pub(super) fn new() -> Self {
        Self { guide: flat(&Config::default()).unwrap_or_default(), given: BTreeMap::new() }
    }

    pub(super) fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        fs::read_to_string(path)
            .map_err(|error| unreadable(path, &error))
            .and_then(|text| self.read_toml(path, &text))
    }

    /// Reads the default file and returns whether it exists. Another user may have put it into the
    /// working directory, so it must belong to this user or to the system.
    pub(super) fn read_file_if_there(&mut self, path: &Path) -> Result<bool, ConfigError> {
        let opened = fs::symlink_metadata(path).and_then(|link| Ok((link, File::open(path)?)));
        let (link, file) = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(unreadable(path, &error)),
            Ok(opened) => opened,
        };
        let about = file.metadata().map_err(|error| unreadable(path, &error))?;
        if let Some(problem) = ownership_fault(&link).or_else(|| ownership_fault(&about)) {
            let remedy = "name it with --config if it is the right one, or run this elsewhere";
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
                self.set(&name, value, Origin::File(path.to_owned()))?;
            }
        }
        Ok(())
    }

    pub(super) fn read_variables(
        &mut self,
        variables: BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        for (variable, text) in variables {
            let name = variable[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
            if self.setting_of(&name).is_none() || variable_of(&name) != variable {
                if let Some(new) = renamed::present_name(&name) {
                    let problem = format!("this setting is called {} now", variable_of(new));
                    let remedy = format!("rename the variable{}", renamed::new_values(&name));
                    return Err(ConfigError::new(format!("variable {variable}"), problem, remedy));
                }
                let nearest = variable_of(&self.nearest(&name));
                return Err(ConfigError::new(
                    format!("variable {variable}"),
                    "this setting does not exist",
                    format!("the nearest is {nearest}: rename the variable or remove it"),
                ));
            }
            let value = self.value_of(&name, text);
            self.set(&name, value, Origin::Variable(variable))?;
        }
        Ok(())
    }

    pub(super) fn read_flags(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        for (flag, name, text) in [
            ("--listen", "listen", &flags.listen),
            ("--public-url", "public_url", &flags.public_url),
            ("--data-dir", "data_dir", &flags.data_dir),
            ("--database-url", "database_url", &flags.database_url),
            ("--log", "log.level", &flags.log),
        ] {
            if let Some(text) = text {
                let value = self.value_of(name, text.clone());
                self.set(name, value, Origin::Flag(flag.to_owned()))?;
            }
        }
        for setting in &flags.set {
            let (name, text) = setting.split_once('=').ok_or_else(|| {
                let remedy = "write it as in `--set tokens.lifetime=10m`";
                // Without its `=`, all of it may be a secret.
                ConfigError::new("flag --set", "the text after it has no `=`", remedy)
            })?;
            let value = self.value_of(name, text.to_owned());
            self.set(name, value, Origin::Flag(String::from("--set")))?;
        }
        Ok(())
    }

    /// The settings, the source of each, and the files that hold a secret.
    pub(super) fn merge(self) -> Result<Loaded, ConfigError> {
        let mut table = Table::new();
        let (mut origins, mut secret_files) = (BTreeMap::new(), Vec::new());
        let mut named_files = BTreeMap::new();
        for (name, given) in self.given {
            let (mut value, mut origin) = (given.value, given.origin.to_string());
            if given.in_file {
                let path = PathBuf::from(value.as_str().unwrap_or_default());
                origin = format!("file {}, named by {origin}", path.display());
                value = read_secret(&path).map_err(|error| error.with_origin(&*origin))?;
                named_files.insert(name.clone(), path.clone());
                secret_files.push((name.clone(), path));
            } else if let Origin::File(path) = given.origin
                && holds_secret(&name, &value)
            {
                secret_files.push((name.clone(), path));
            }
            nest(&mut table, &name, value);
            origins.insert(name, origin);
        }
        // Each setting was checked when it was set, so this does not fail.
        let config = Config::deserialize(table)
            .map_err(|error| ConfigError::new("settings", error.message(), "correct them"))?;
        Ok(Loaded { config, origins, secret_files, named_files, file: None })
    }

    fn set(&mut self, name: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let Some((setting, in_file)) = self.setting_of(name) else {
            let (problem, remedy) = if let Some(new) = renamed::present_name(name) {
                let remedy = format!("rename it{}", renamed::new_values(name));
                (format!("this setting is called {new} now"), remedy)
            } else {
                let nearest = self.nearest(name);
                let remedy = format!("the nearest is {nearest}: rename it or remove it");
                (String::from("this setting does not exist"), remedy)
            };
            return Err(ConfigError::new(name, problem, remedy).with_origin(origin.to_string()));
        };
        check_type(setting, &value).map_err(|problem| {
            // serde's error text includes the value.
            let is_secret = SECRETS.contains(&setting) && !in_file;
            let problem = if is_secret { "it is not text".to_owned() } else { problem };
            let example = if in_file {
                "\"/run/secrets/doorward\"".into()
            } else {
                self.guide[setting].to_string()
            };
            let remedy = format!("write it as in `{} = {example}`", last_part(name));
            ConfigError::new(name, problem, remedy).with_origin(origin.to_string())
        })?;
        // `X=${X:-}` in a compose file sets an empty variable: the previous layer's value stays.
        if is_empty(&value) && is_empty(&self.guide[setting]) {
            return Ok(());
        }
        if let Some(before) = self.given.get(setting)
            && before.in_file != in_file
            && mem::discriminant(&before.origin) == mem::discriminant(&origin)
        {
            let problem = format!("{setting} and {setting}_file are both given");
            return Err(ConfigError::new(setting, problem, "remove one of them")
                .with_origin(origin.to_string()));
        }
        self.given.insert(setting.to_owned(), Given { value, origin, in_file });
        Ok(())
    }

    /// The setting that a name refers to, and whether the name is its `_file` twin.
    fn setting_of<'a>(&self, name: &'a str) -> Option<(&'a str, bool)> {
        if self.guide.contains_key(name) {
            return Some((name, false));
        }
        name.strip_suffix("_file")
            .filter(|setting| SECRETS.contains(setting))
            .map(|setting| (setting, true))
    }

    fn is_section(&self, name: &str) -> bool {
        self.guide
            .keys()
            .any(|known| known.split_once('.').is_some_and(|(section, _)| section == name))
    }

    /// The text of a variable or flag, converted to the setting's TOML type.
    fn value_of(&self, name: &str, text: String) -> Value {
        // Text that does not parse stays text and is rejected as the wrong type.
        match self.guide.get(name) {
            Some(Value::Integer(_)) => {
                text.trim().parse().map_or(Value::String(text), Value::Integer)
            }
            Some(Value::Boolean(_)) => {
                text.trim().parse().map_or(Value::String(text), Value::Boolean)
            }
            Some(Value::Array(_)) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Value::Array(items.map(Value::from).collect())
            }
            _ => Value::String(text),
        }
    }

    /// The most similar known name, as a whole or, when the section is wrong or missing, in its
    /// last part.
    fn nearest(&self, name: &str) -> String {
        let likeness = |known: &str| {
            let whole = strsim::normalized_damerau_levenshtein(
                &known.replace('.', "_"),
                &name.replace('.', "_"),
            );
            whole.max(
                0.9 * strsim::normalized_damerau_levenshtein(last_part(known), last_part(name)),
            )
        };
        let twins = SECRETS.iter().map(|secret| format!("{secret}_file"));
        let known = self.guide.keys().cloned().chain(twins);
        known.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default()
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

fn last_part(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// The variables with Doorward's prefix.
pub(super) fn own_variables(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut own = BTreeMap::new();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) {
            continue;
        }
        let value = value.into_string().map_err(|_| {
            ConfigError::new(
                format!("variable {name}"),
                "its value is not UTF-8",
                "set it to text or remove it",
            )
        })?;
        if !is_service_link(&name, &value) {
            own.insert(name.into_owned(), value);
        }
    }
    Ok(own)
}

/// Kubernetes sets these in every pod beside a Service whose name begins with "doorward":
/// `DOORWARD_SERVICE_HOST`, `DOORWARD_PORT=tcp://10.0.0.1:80`, `DOORWARD_PORT_80_TCP_ADDR`. No
/// operator set them, and none can correct them.
fn is_service_link(name: &str, value: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_") && (name.contains("_TCP") || name.contains("_UDP"))
        || name.ends_with("_PORT") && value.contains("://")
}

fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('.', "__").to_ascii_uppercase())
}

/// The settings by their dotted names.
pub(super) fn flat(config: &Config) -> Result<BTreeMap<String, Value>, toml::ser::Error> {
    let mut settings = BTreeMap::new();
    flatten("", Table::try_from(config)?, &mut settings);
    Ok(settings)
}

fn flatten(prefix: &str, table: Table, into: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(section) if !section.is_empty() => flatten(&name, section, into),
            value => {
                into.insert(name, value);
            }
        }
    }
}

fn nest(table: &mut Table, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            table.insert(name.to_owned(), value);
        }
        Some((section, key)) => {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = entry {
                nest(section, key, value);
            }
        }
    }
}

/// Whether the setting accepts this value. Set alone over the defaults, it is the only one that an
/// error can refer to.
fn check_type(setting: &str, value: &Value) -> Result<(), String> {
    let mut table = Table::new();
    nest(&mut table, setting, value.clone());
    Config::deserialize(table).map(drop).map_err(|error| error.message().to_owned())
}

fn read_secret(path: &Path) -> Result<Value, ConfigError> {
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

fn holds_secret(setting: &str, value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    // A database URL may have no password.
    SECRETS.contains(&setting) && (setting != "database_url" || text.contains('@'))
}

fn is_empty(value: &Value) -> bool {
    value.as_str().is_some_and(str::is_empty)
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let remedy = "name a file that this user can read";
    ConfigError::new(path.display().to_string(), format!("it cannot be read: {error}"), remedy)
}
