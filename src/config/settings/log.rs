//! The section `[log]`.

use serde::{Deserialize, Serialize};

/// The log, on standard error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text` or `json`: one event is one line in both.
    pub format: LogFormat,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; also for one module:
    /// `info,doorward::sessions=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: String::from("info,actix_server=warn,actix_http=off"),
        }
    }
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For human readers.
    Text,
    /// One JSON object per line.
    Json,
}
