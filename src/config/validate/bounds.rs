//! Bounds of one value.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Checked;
use crate::config::ConfigError;
use crate::config::serde_formats::duration::format_duration;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const TEN_YEARS: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

pub(super) fn in_range<T: PartialOrd + Display>(
    setting: &str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Checked {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(outside(setting, value, bounds.start(), bounds.end()))
}

pub(in crate::config) fn duration_in_range(
    setting: &str,
    value: Duration,
    bounds: RangeInclusive<Duration>,
) -> Checked {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(outside(
        setting,
        format_duration(value),
        format_duration(*bounds.start()),
        format_duration(*bounds.end()),
    ))
}

fn outside(
    setting: &str,
    value: impl Display,
    least: impl Display,
    most: impl Display,
) -> ConfigError {
    let remedy = format!("set it to at least {least} and at most {most}");
    ConfigError::new(setting, format!("{value} is out of bounds"), remedy)
}
