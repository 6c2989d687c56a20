//! Values from outside the settings, checked by the same rules.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::IntoDeserializer as _;
use serde::de::value::StrDeserializer;

use super::{ConfigError, serde_formats, validate};
use crate::database::DatabaseUrl;
use crate::secret::Secret;

/// The database that a flag names.
///
/// # Errors
/// [`ConfigError`] when the URL is not a valid SQLite or PostgreSQL URL.
pub fn database_of(flag: &str, url: &str) -> Result<DatabaseUrl, ConfigError> {
    DatabaseUrl::parse(&Secret::new(url.to_owned()))
        .map_err(|error| ConfigError::new(format!("flag {flag}"), error.problem, error.remedy))
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
