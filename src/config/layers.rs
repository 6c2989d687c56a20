//! The layers: file, variables and flags over the defaults.

mod file;
mod secret_files;
mod table;
mod variables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fmt, mem};

use serde::Deserialize as _;
use toml::{Table, Value};

pub(super) use table::flat;
pub(super) use variables::own_variables;

use super::{Config, ConfigError, Flags, Loaded, renamed};
use secret_files::{SECRETS, SecretSetting, read_secret};
use table::{check_type, nest};

/// The values given so far. The defaults, as TOML, define which settings exist and into which TOML
/// type a variable's text is converted.
pub(super) struct Layers {
    defaults: BTreeMap<String, Value>,
    given: BTreeMap<String, Given>,
}

struct Given {
    value: Value,
    source: SettingSource,
    /// The value is the path of a file that holds the setting.
    in_file: bool,
}

enum SettingSource {
    File(PathBuf),
    Variable(String),
    Flag(String),
}

impl fmt::Display for SettingSource {
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
        Self { defaults: flat(&Config::default()).unwrap_or_default(), given: BTreeMap::new() }
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
                self.set(name, value, SettingSource::Flag(flag.to_owned()))?;
            }
        }
        for setting in &flags.set {
            let (name, text) = setting.split_once('=').ok_or_else(|| {
                let remedy = "write it as in `--set tokens.lifetime=10m`";
                // Without its `=`, all of it may be a secret.
                ConfigError::new("flag --set", "the text after it has no `=`", remedy)
            })?;
            let value = self.value_of(name, text.to_owned());
            self.set(name, value, SettingSource::Flag(String::from("--set")))?;
        }
        Ok(())
    }

    /// The settings, the source of each, and the files that hold a secret.
    pub(super) fn merge(self) -> Result<Loaded, ConfigError> {
        let mut table = Table::new();
        let (mut sources, mut secret_files) = (BTreeMap::new(), Vec::new());
        let mut named_files = BTreeMap::new();
        for (name, given) in self.given {
            let (mut value, mut source) = (given.value, given.source.to_string());
            let secret = SecretSetting::named(&name);
            if given.in_file {
                let path = PathBuf::from(value.as_str().unwrap_or_default());
                source = format!("file {}, named by {source}", path.display());
                value = read_secret(&path).map_err(|error| error.with_source(&*source))?;
                named_files.insert(name.clone(), path.clone());
                secret_files.extend(secret.map(|secret| (secret.name, path)));
            } else if let SettingSource::File(path) = given.source
                && let Some(secret) = secret.filter(|secret| secret.is_in(&value))
            {
                secret_files.push((secret.name, path));
            }
            nest(&mut table, &name, value);
            sources.insert(name, source);
        }
        // Each setting was checked when it was set, so this does not fail.
        let config = Config::deserialize(table)
            .map_err(|error| ConfigError::new("settings", error.message(), "correct them"))?;
        Ok(Loaded { config, sources, secret_files, named_files, file: None })
    }

    fn set(&mut self, name: &str, value: Value, source: SettingSource) -> Result<(), ConfigError> {
        let Some((setting, in_file)) = self.setting_of(name) else {
            let (problem, remedy) = if let Some(new) = renamed::new_name(name) {
                let remedy = format!("rename it{}", renamed::new_values(name));
                (format!("this setting is called {new} now"), remedy)
            } else {
                let nearest = self.nearest(name);
                let remedy = format!("the nearest is {nearest}: rename it or remove it");
                (String::from("this setting does not exist"), remedy)
            };
            return Err(ConfigError::new(name, problem, remedy).with_source(source.to_string()));
        };
        check_type(setting, &value).map_err(|problem| {
            // serde's error text includes the value.
            let is_secret = SecretSetting::named(setting).is_some() && !in_file;
            let problem = if is_secret { "it is not text".to_owned() } else { problem };
            let example = if in_file {
                "\"/run/secrets/doorward\"".into()
            } else {
                self.defaults[setting].to_string()
            };
            let remedy = format!("write it as in `{} = {example}`", last_part(name));
            ConfigError::new(name, problem, remedy).with_source(source.to_string())
        })?;
        // `X=${X:-}` in a compose file sets an empty variable: the previous layer's value stays.
        if is_empty(&value) && is_empty(&self.defaults[setting]) {
            return Ok(());
        }
        if let Some(before) = self.given.get(setting)
            && before.in_file != in_file
            && mem::discriminant(&before.source) == mem::discriminant(&source)
        {
            let problem = format!("{setting} and {setting}_file are both given");
            return Err(ConfigError::new(setting, problem, "remove one of them")
                .with_source(source.to_string()));
        }
        self.given.insert(setting.to_owned(), Given { value, source, in_file });
        Ok(())
    }

    /// The setting that a name refers to, and whether the name is its `_file` twin.
    fn setting_of<'a>(&self, name: &'a str) -> Option<(&'a str, bool)> {
        if self.defaults.contains_key(name) {
            return Some((name, false));
        }
        name.strip_suffix("_file")
            .filter(|setting| SecretSetting::named(setting).is_some())
            .map(|setting| (setting, true))
    }

    fn is_section(&self, name: &str) -> bool {
        self.defaults
            .keys()
            .any(|known| known.split_once('.').is_some_and(|(section, _)| section == name))
    }

    /// The text of a variable or flag, converted to the setting's TOML type.
    fn value_of(&self, name: &str, text: String) -> Value {
        // Text that does not parse stays text and is rejected as the wrong type.
        match self.defaults.get(name) {
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
        let twins = SECRETS.iter().map(|secret| format!("{}_file", secret.name));
        let known = self.defaults.keys().cloned().chain(twins);
        known.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default()
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

fn is_empty(value: &Value) -> bool {
    value.as_str().is_some_and(str::is_empty)
}
