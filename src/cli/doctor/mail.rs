//! Checks of mail: the templates, the connection to the mail server, and messages that wait.

use std::io;
use std::time::Duration;

use super::Doctor;
use crate::app::mail::{for_notices, renderer, transport};
use crate::app::settings::one_connection;
use crate::cli::block_on;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::database::Database;
use crate::mail::Backlog;
use crate::mail::transport::{MailTransport, SmtpTransport};

/// The deadline of the mail server.
const SERVER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a message may wait without a finding.
const MAX_WAIT: Duration = Duration::from_secs(5 * 60);

impl Doctor<'_> {
    pub(super) fn mail(&mut self) {
        let config = self.config;
        let issuer = config.issuer(config.listen);
        if let Err(error) = renderer(config, &issuer) {
            let (setting, problem) = error.by_setting();
            self.report(setting, problem);
        }
        // The transport needs a runtime, also to be dropped.
        let found = block_on(async {
            io::Result::Ok((transport_problem(config).await, backlog(config).await))
        });
        let (problem, backlog) = match found {
            Ok(found) => found,
            Err(error) => return self.report("email", error.to_string()),
        };
        if let Some((setting, problem)) = problem {
            self.report(setting, problem);
        }
        if let Some((backlog, now)) = backlog {
            self.waiting(backlog, now);
        }
    }

    fn waiting(&mut self, backlog: Backlog, now: Timestamp) {
        let age = backlog.oldest.map(|oldest| now.since(oldest)).unwrap_or_default();
        if age > MAX_WAIT {
            let problem = format!(
                "{} messages wait, the oldest for {} minutes; see `doorward mail queue`, and the \
                 mail server's answers in the log of the service",
                backlog.waiting,
                age.as_secs() / 60
            );
            self.report("email", problem);
        }
    }
}

/// The problem with the transport of messages and its setting, if there is one.
async fn transport_problem(config: &Config) -> Option<(&'static str, String)> {
    let problem = match transport(config, &Clock::system()) {
        Ok(Some(MailTransport::Folder(..))) if !config.is_for_this_machine() => String::from(
            "it is file:, so messages are only written to the folder outbox; name your mail server",
        ),
        Ok(Some(MailTransport::Folder(..)) | None) => return None,
        Ok(Some(MailTransport::Smtp(smtp, _))) => server_problem(&smtp).await?,
        Err(error) => return Some(error.by_setting()),
    };
    Some(("email.url", problem))
}

async fn server_problem(smtp: &SmtpTransport) -> Option<String> {
    let fault = match tokio::time::timeout(SERVER_TIMEOUT, smtp.test()).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => String::from("it does not answer"),
    };
    Some(format!(
        "the mail server cannot be used: {fault}; correct its name, port, user and password, or its \
         certificate (SSL_CERT_FILE names a private authority)"
    ))
}

/// The messages that wait, and the present time. Other checks report an unusable database.
async fn backlog(config: &Config) -> Option<(Backlog, Timestamp)> {
    let settings = one_connection(config).ok()?;
    let db = Database::open_read_only(&settings).ok()?;
    let clock = db.clocks().await.ok()?.clock;
    let now = clock.now();
    let mail = for_notices(config, db, clock).ok()?;
    Some((mail.backlog().await.ok()?, now))
}
