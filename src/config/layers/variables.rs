//! Environment variables.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::{Layers, SettingSource};
use crate::config::{ConfigError, renamed};

const PREFIX: &str = "DOORWARD_";

impl Layers {
    pub(in crate::config) fn read_variables(
        &mut self,
        variables: BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        for (variable, text) in variables {
            let name = variable[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
            if self.setting_of(&name).is_none() || variable_of(&name) != variable {
                if let Some(new) = renamed::new_name(&name) {
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
            self.set(&name, value, SettingSource::Variable(variable))?;
        }
        Ok(())
    }
}

/// The variables with Doorward's prefix.
pub(in crate::config) fn own_variables(
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

/// Kubernetes sets these in every pod of a namespace with a Service whose name begins with
/// "doorward": `DOORWARD_SERVICE_HOST`, `DOORWARD_PORT=tcp://10.0.0.1:80`,
/// `DOORWARD_PORT_80_TCP_ADDR`. No operator set them, and none can correct them.
fn is_service_link(name: &str, value: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_") && (name.contains("_TCP") || name.contains("_UDP"))
        || name.ends_with("_PORT") && value.contains("://")
}

fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('.', "__").to_ascii_uppercase())
}
