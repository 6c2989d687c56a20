//! The error of a setting, and text on one line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Why the settings are invalid: one line that names the setting, its source, the problem and the
/// remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub(super) subject: String,
    pub(super) source: Option<String>,
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl ConfigError {
    pub(super) fn new(
        subject: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (subject, problem, remedy) = (subject.into(), problem.into(), remedy.into());
        Self { subject, source: None, problem, remedy }
    }

    /// The text without the setting's name, for callers that name it themselves.
    #[must_use]
    pub fn without_subject(&self) -> String {
        one_line(&format!("{}; {}", self.problem, self.remedy)).into_owned()
    }

    pub(super) fn with_source(self, source: impl Into<String>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    pub(super) fn with_source_from(self, sources: &BTreeMap<String, String>) -> Self {
        let source = sources.get(&self.subject).map_or("default", String::as_str).to_owned();
        self.with_source(source)
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, source, problem, remedy } = self;
        let source = source.as_ref().map(|source| format!(" ({source})")).unwrap_or_default();
        f.write_str(&one_line(&format!("{subject}{source}: {problem}; {remedy}")))
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
