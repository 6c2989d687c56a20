//! `doorward mail …`: sends a test message, shows a message, lists those that wait.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{AdminError, Opened, block_on};
use crate::accounts::Email;
use crate::app::MailError;
use crate::app::mail::{for_notices, renderer, transport};
use crate::clock::Clock;
use crate::config::Config;
use crate::mail::MailRequest;
use crate::mail::messages::{MessageKind, RenderedMessage};

/// The subcommands of `doorward mail`.
#[derive(Subcommand)]
pub enum MailCommand {
    /// Send a test message past the queue; an error is the mail server's answer
    #[command(after_help = "Example: doorward mail test ada@example.com")]
    Test {
        /// The recipient's e-mail address
        address: String,
    },
    /// Print a message as its template renders it, with example content
    #[command(after_help = "Example: doorward mail preview reset --language de")]
    Preview {
        /// The message's name, such as reset; a wrong name prints all of them
        template: String,
        /// Use the templates for this language, as in de
        #[arg(long, value_name = "LANGUAGE")]
        language: Option<String>,
        /// Print the message's HTML instead of its text
        #[arg(long)]
        html: bool,
    },
    /// List the messages that wait, in the order in which they are sent
    #[command(after_help = "Example: doorward mail queue --json")]
    Queue {
        /// Maximum number of messages to print
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs a command and returns the text to print.
///
/// # Errors
/// [`AdminError`].
pub fn mail(config: &Config, command: &MailCommand) -> Result<String, AdminError> {
    block_on(async {
        match command {
            MailCommand::Test { address } => test(config, address).await,
            MailCommand::Preview { template, language, html } => {
                preview(config, template, language.as_deref(), *html)
            }
            MailCommand::Queue { limit, json } => queue(config, *limit, *json).await,
        }
    })
}

async fn test(config: &Config, address: &str) -> Result<String, AdminError> {
    let (address, clock) = (Email::parse(address)?, Clock::system());
    let transport = transport(config, &clock)?.ok_or(AdminError::MailOff)?;
    let renderer = renderer(config, &config.issuer(config.listen))?;
    let message = renderer
        .sample(MessageKind::Test, address.as_str(), None, clock.now())
        .map_err(MailError::from)?;
    transport.send(&message).await?;
    transport.close_idle().await;
    Ok(format!("sent to {address}\n"))
}

fn preview(
    config: &Config,
    template: &str,
    language: Option<&str>,
    html: bool,
) -> Result<String, AdminError> {
    let names = || MessageKind::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ");
    let message = MessageKind::parse(template)
        .ok_or_else(|| AdminError::NoSuchMessage(template.to_owned(), names()))?;
    let renderer = renderer(config, &config.issuer(config.listen))?;
    let now = Clock::system().now();
    let RenderedMessage { subject, text, html: page, .. } =
        renderer.sample(message, "ada@example.com", language, now).map_err(MailError::from)?;
    let shown = if html { page } else { format!("Subject: {subject}\n\n{text}") };
    Ok(format!("{}\n", shown.trim_end()))
}

async fn queue(config: &Config, limit: u32, json: bool) -> Result<String, AdminError> {
    let Opened { db, clocks } = Opened::read_only(config).await?;
    let mail = for_notices(config, db, clocks.clock)?;
    let waiting = mail.waiting(limit).await?;
    if json {
        return Ok(format!("{}\n", waiting.iter().map(as_json).collect::<Value>()));
    }
    let backlog = mail.backlog().await?;
    let mut lines = String::new();
    for row in &waiting {
        // Writing to a String cannot fail.
        let (message, attempts) =
            (row.message().map_or("-", MessageKind::as_str), row.send_attempts);
        let _ =
            writeln!(lines, "{}  {}  {message}  send attempts: {attempts}", row.id, row.created_at);
    }
    let _ = writeln!(lines, "waiting: {}", backlog.waiting);
    Ok(lines)
}

fn as_json(row: &MailRequest) -> Value {
    json!({
        "id": row.id,
        "purpose": row.purpose().as_str(),
        "message": row.message().map(MessageKind::as_str),
        "created_at": row.created_at,
        "send_attempts": row.send_attempts,
    })
}
