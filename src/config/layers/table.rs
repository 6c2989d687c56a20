//! Settings by dotted names, and as nested TOML tables.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use toml::{Table, Value};

use crate::config::Config;

/// The settings by their dotted names.
pub(in crate::config) fn flat(
    config: &Config,
) -> Result<BTreeMap<String, Value>, toml::ser::Error> {
    let mut settings = BTreeMap::new();
    flatten("", Table::try_from(config)?, &mut settings);
    Ok(settings)
}

pub(super) fn flatten(prefix: &str, table: Table, into: &mut BTreeMap<String, Value>) {
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

pub(super) fn nest(table: &mut Table, name: &str, value: Value) {
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
pub(super) fn check_type(setting: &str, value: &Value) -> Result<(), String> {
    let mut table = Table::new();
    nest(&mut table, setting, value.clone());
    Config::deserialize(table).map(drop).map_err(|error| error.message().to_owned())
}
