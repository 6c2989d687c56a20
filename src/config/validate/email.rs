//! Validation of the settings of e-mail.

use lettre::message::Mailbox;
use url::Url;

use super::Checked;
use super::bounds::{DAY, MINUTE, duration_in_range, in_range};
use crate::config::{Config, ConfigError, Verification};
use crate::loopback::is_local;
use crate::mail::transport::MailUrl;

/// The sender of messages that are written to a folder.
const LOCAL_SENDER: &str = "Doorward <doorward@localhost>";

impl Config {
    /// The transport of messages; `None` when mail is off.
    ///
    /// # Errors
    /// [`ConfigError`] when `email.url` is invalid.
    pub fn mail_url(&self) -> Result<Option<MailUrl>, ConfigError> {
        let Some(url) = &self.email.url else {
            return Ok(self.is_for_this_machine().then_some(MailUrl::Folder));
        };
        let parsed = MailUrl::parse(url.expose()).map_err(|error| {
            let remedy = "write it as in smtps://user:password@mail.example.com, with other \
                          characters than letters and digits percent-encoded";
            ConfigError::new("email.url", error.to_string(), remedy)
        });
        parsed.map(Some)
    }

    /// The sender of messages.
    ///
    /// # Errors
    /// [`ConfigError`] when `email.from` is invalid, or empty while there is a mail server.
    pub fn mail_sender(&self) -> Result<Mailbox, ConfigError> {
        let from = &self.email.from;
        let invalid = |problem: String| {
            let remedy = "write it as in `Example <no-reply@example.com>`";
            ConfigError::new("email.from", problem, remedy)
        };
        let from = match self.mail_url()? {
            Some(MailUrl::Smtp { .. }) if from.is_empty() => {
                return Err(invalid(String::from("it is empty, and messages need a sender")));
            }
            _ if from.is_empty() => LOCAL_SENDER,
            _ => from,
        };
        from.parse().map_err(|_| invalid(format!("`{from}` is not a valid sender")))
    }

    /// Whether `public_url` is this machine's, so that only its users are served.
    #[must_use]
    pub fn is_for_this_machine(&self) -> bool {
        if self.public_url.is_empty() {
            return self.listen.ip().is_loopback();
        }
        Url::parse(&self.public_url).is_ok_and(|url| is_local(&url))
    }

    pub(super) fn validate_email(&self) -> Checked {
        let email = &self.email;
        duration_in_range("email.code_lifetime", email.code_lifetime, MINUTE..=DAY)?;
        duration_in_range("email.link_lifetime", email.link_lifetime, MINUTE..=DAY)?;
        in_range("email.max_rows", email.max_rows, 1000..=10_000_000)?;
        self.mail_sender()?;
        reset_link(&email.links.reset)?;
        self.verification()
    }

    /// Without mail nobody could register.
    fn verification(&self) -> Checked {
        if self.accounts.verification == Verification::Off {
            return Ok(());
        }
        let problem = match self.mail_url()? {
            Some(MailUrl::Smtp { .. }) => return Ok(()),
            Some(MailUrl::Folder) if !self.is_https() => return Ok(()),
            Some(MailUrl::Folder) => "required, but with email.url = file: messages reach nobody",
            None => "required, but mail is off",
        };
        let remedy = "set email.url to your mail server, or this to off";
        Err(ConfigError::new("accounts.verification", problem, remedy))
    }
}

fn reset_link(link: &str) -> Checked {
    let filled = link.replace("{token}", "dwm_token");
    let url = Url::parse(&filled).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let problem = match url {
        _ if link.is_empty() => return Ok(()),
        None => format!("`{link}` is not an http or https URL"),
        Some(_) if link.matches("{token}").count() != 1 => {
            format!("`{link}` does not contain {{token}} exactly once")
        }
        // Elsewhere it would be sent to the server, and be in its log and in Referer.
        Some(url) if !url.fragment().is_some_and(|part| part.contains("dwm_token")) => {
            format!("`{link}` has the token before the #, where it would be logged")
        }
        Some(_) => return Ok(()),
    };
    let remedy = "write it as in https://app.example.com/reset#token={token}";
    Err(ConfigError::new("email.links.reset", problem, remedy))
}
