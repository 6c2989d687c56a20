//! Renders the effective settings as a documented TOML file.

use std::mem;

use toml::Value;

use super::{Loaded, layers, one_line, serde_formats};

/// The files of the settings, in the order in which they are printed. The doc comments there become
/// the comments above each setting here, so that a setting is documented once.
const SETTINGS: [&str; 16] = [
    include_str!("settings.rs"),
    include_str!("settings/log.rs"),
    include_str!("settings/tls.rs"),
    include_str!("settings/tokens.rs"),
    include_str!("settings/sessions.rs"),
    include_str!("settings/passwords.rs"),
    include_str!("settings/limits.rs"),
    include_str!("settings/revocations.rs"),
    include_str!("settings/audit.rs"),
    include_str!("settings/browser.rs"),
    include_str!("settings/admin.rs"),
    include_str!("settings/docs.rs"),
    include_str!("settings/metrics.rs"),
    include_str!("settings/database.rs"),
    include_str!("settings/accounts.rs"),
    include_str!("settings/email.rs"),
];

const HEAD: &str = "\
# Doorward's settings. A variable overrides this file: DOORWARD_LISTEN, and for a key in a section
# DOORWARD_TOKENS__LIFETIME. A flag overrides both: --set tokens.lifetime=10m. Durations are text
# (30s, 10m, 90d) or plain seconds. Settings at their defaults and secrets are commented out: remove
# the # to set one.
";

impl Loaded {
    /// The settings as TOML that can be read again: documentation and value of each, and the source
    /// if it is not the default. Defaults and secrets, which are hidden, are commented out. Each
    /// name is written in full, so that a line can be copied by itself.
    ///
    /// # Errors
    /// When a setting cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let values = layers::flat(&self.config)?;
        let mut out = String::from(HEAD);
        for (name, comment) in described() {
            // A name without a value is a section.
            let Some(value) = values.get(&name) else {
                continue;
            };
            let source = self.sources.get(&name);
            let line = if let Some(path) = self.named_files.get(&name) {
                format!("{name}_file = {}", Value::from(&*path.to_string_lossy()))
            } else if source.is_none() || value.as_str() == Some(serde_formats::hidden::MASK) {
                format!("#{name} = {value}")
            } else {
                format!("{name} = {value}")
            };
            let source =
                source.map(|source| format!(" # {}", one_line(source))).unwrap_or_default();
            out.extend(["\n", &comment, &line, &source, "\n"]);
        }
        Ok(out)
    }
}

/// Each setting's dotted name and its comment, in the order of the source.
fn described() -> Vec<(String, String)> {
    let (mut section, mut comment, mut found) = (String::new(), String::new(), Vec::new());
    for line in SETTINGS.iter().flat_map(|file| file.lines()).map(str::trim_start) {
        if let Some(text) = line.strip_prefix("///") {
            comment = comment + "#" + text + "\n";
        } else if let Some(name) = line.strip_prefix("pub struct ") {
            section = section_of(name.trim_end_matches("Config {"));
            comment.clear();
        } else if let Some((key, _)) =
            line.strip_prefix("pub ").and_then(|rest| rest.split_once(':'))
        {
            let name = format!("{section}{key}").trim_start_matches('.').to_owned();
            found.push((name, mem::take(&mut comment)));
        } else if !line.starts_with("#[") {
            comment.clear();
        }
    }
    found
}

/// The section of a struct: `EmailLinksConfig` has the settings of `email.links`.
fn section_of(name: &str) -> String {
    let mut section = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !section.is_empty() {
            section.push('.');
        }
        section.push(c.to_ascii_lowercase());
    }
    section + "."
}
