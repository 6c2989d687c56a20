//! E-mail.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::serde_formats;
use crate::secret::Secret;

/// E-mail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmailConfig {
    /// The transport of messages: `smtps://<user>:<password>@<host>`, `smtp://…` (STARTTLS is
    /// required unless the host is this machine, and there too with `?tls=required`), or `file:`
    /// (messages are written to the folder `outbox` of `data_dir`, for trying the service out).
    /// Empty: `file:` while `public_url` is this machine's, otherwise mail is off. It can be read
    /// from the file that `email.url_file` names.
    #[serde(with = "serde_formats::secret_url")]
    pub url: Option<Secret<String>>,
    /// The sender of messages, as in `Example <no-reply@example.com>`. Messages use its name for
    /// the service. Required with a mail server.
    pub from: String,
    /// How long a mailed code is valid: 1m to 1d. ASVS 5.0 6.5.5 advises at most 10m; a mail server
    /// that delays messages of unknown senders may need more.
    #[serde(with = "serde_formats::duration")]
    pub code_lifetime: Duration,
    /// How long a mailed link is valid: 1m to 1d.
    #[serde(with = "serde_formats::duration")]
    pub link_lifetime: Duration,
    /// The folder with templates that replace the built-in ones. Empty: none.
    pub templates: PathBuf,
    /// The maximum number of stored mail requests and messages: 1000 to 10000000. Registrations and
    /// changes of address have three quarters. Beyond it the oldest requests make room if their
    /// codes have expired or nothing was sent for them; otherwise requests are rejected (503).
    pub max_rows: u64,
    /// The targets of links in messages.
    pub links: EmailLinksConfig,
}

impl Default for EmailConfig {
    fn default() -> Self {
        Self {
            url: None,
            from: String::new(),
            code_lifetime: Duration::from_secs(10 * 60),
            link_lifetime: Duration::from_secs(60 * 60),
            templates: PathBuf::new(),
            max_rows: 100_000,
            links: EmailLinksConfig::default(),
        }
    }
}

/// The targets of links in messages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmailLinksConfig {
    /// Your page for setting a new password, as in `https://app.example.com/reset#token={token}`.
    /// Browsers do not send the part after the `#` to a server. Empty: Doorward's page `/reset`.
    pub reset: String,
}
