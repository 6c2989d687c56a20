//! Range and cross-field validation. The bounds are also documented in the settings' comments, for
//! operators.

mod accounts;
mod bounds;
mod email;
mod network;
mod sections;
mod web;

use std::time::Duration;

pub(super) use bounds::duration_in_range;
pub(super) use web::origin;

use super::{Config, ConfigError};
use crate::database::DatabaseUrl;
use bounds::{DAY, HOUR, MINUTE, SECOND, TEN_YEARS, in_range};
use network::{listeners, tls, trusted_proxies};
use sections::{limits, log, passwords, sessions, tokens};
use web::{audience, headers, public_url, same_site};

type Checked = Result<(), ConfigError>;

impl Config {
    /// Checks every value against its bounds and against related settings.
    ///
    /// # Errors
    /// [`ConfigError`] for the first invalid value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        public_url(&self.public_url)?;
        audience(&self.audience)?;
        if self.data_dir.as_os_str().is_empty() {
            return Err(ConfigError::new("data_dir", "it is empty", "name a directory"));
        }
        self.database()?;
        self.given_secrets()?;
        in_range("workers", self.workers, 0..=1024)?;
        duration_in_range("shutdown_delay", self.shutdown_delay, Duration::ZERO..=10 * MINUTE)?;
        duration_in_range("shutdown_timeout", self.shutdown_timeout, Duration::ZERO..=10 * MINUTE)?;
        log(&self.log)?;
        trusted_proxies(self)?;
        tls(self)?;
        listeners(self)?;
        tokens(&self.tokens)?;
        sessions(&self.sessions, &self.tokens)?;
        passwords(&self.passwords)?;
        limits(&self.limits, self)?;
        duration_in_range(
            "revocations.max_staleness",
            self.revocations.max_staleness,
            5 * SECOND..=HOUR,
        )?;
        duration_in_range(
            "revocations.max_clock_skew",
            self.revocations.max_clock_skew,
            5 * SECOND..=5 * MINUTE,
        )?;
        in_range("revocations.max_entries", self.revocations.max_entries, 1000..=100_000_000)?;
        duration_in_range("audit.retention", self.audit.retention, DAY..=TEN_YEARS)?;
        self.cors.origins.iter().try_for_each(|text| origin(text))?;
        headers(&self.cors.headers)?;
        same_site(self)?;
        in_range("database.pool_size", self.database.pool_size, 1..=1000)?;
        let statement = self.database.statement_timeout;
        duration_in_range("database.statement_timeout", statement, SECOND / 10..=10 * SECOND)?;
        accounts::accounts(&self.accounts)?;
        self.validate_email()
    }

    /// The location of the data, by `database_url` and `data_dir`.
    ///
    /// # Errors
    /// [`ConfigError`] when the URL is not a valid SQLite or PostgreSQL URL.
    pub fn database(&self) -> Result<DatabaseUrl, ConfigError> {
        let Some(url) = &self.database_url else {
            return Ok(DatabaseUrl::Sqlite(self.data_dir.join("doorward.db")));
        };
        DatabaseUrl::parse(url)
            .map_err(|error| ConfigError::new("database_url", error.problem, error.remedy))
    }
}
