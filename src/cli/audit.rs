//! `doorward audit`: prints stored security events.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::{AdminError, Opened, block_on, user};
use crate::audit::{self, AuditEntry, EventFilter, EventKind};
use crate::clock::Timestamp;
use crate::config::{Config, parse_duration};
use crate::database::Id;

/// The longest period for `--since`: as long as events can be kept.
const MAX_SINCE: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Filters of `doorward audit`.
#[derive(Args)]
pub struct AuditCommand {
    /// Events of this account, by e-mail address or id
    #[arg(long, value_name = "EMAIL|ID")]
    user: Option<String>,
    /// Events of this name
    #[arg(long, value_name = "NAME", value_parser = kinds())]
    event: Option<EventKind>,
    /// Events since then: 7d, 90m, 2026-11-24 or 2026-11-24T09:30:00Z
    #[arg(long, value_name = "DURATION|TIME")]
    since: Option<String>,
    /// Maximum number of events to print
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn kinds() -> impl clap::builder::TypedValueParser<Value = EventKind> {
    PossibleValuesParser::new(EventKind::ALL.iter().map(|kind| kind.as_str()))
        .try_map(|name| EventKind::parse(&name).ok_or("is not an event name"))
}

/// Returns the events, the newest first.
///
/// # Errors
/// [`AdminError`].
pub fn audit(config: &Config, command: &AuditCommand) -> Result<String, AdminError> {
    block_on(async {
        // A malformed point in time is rejected before the database is opened.
        let since = command.since.as_deref().map(Since::parse).transpose()?;
        let opened = Opened::read_only(config).await?;
        let Opened { db, clocks } = opened.clone();
        let since = match since {
            Some(Since::Ago(back)) => Some(clocks.clock.now().minus(back)),
            Some(Since::Moment(at)) => Some(at),
            None => None,
        };
        let user = match &command.user {
            // A deleted account still has events.
            Some(name) => Some(match Id::parse(name) {
                Some(id) => id,
                None => user::find(&user::accounts(config, opened)?, name).await?.id,
            }),
            None => None,
        };
        let (kind, limit) = (command.event, command.limit);
        let wanted = EventFilter { user, kind, since, before: None, limit };
        let events = audit::list(&db, wanted).await?.events;
        Ok(if command.json {
            format!("{}\n", serde_json::json!(events))
        } else {
            events.iter().map(described).collect()
        })
    })
}

/// A point in time, absolute or relative to now.
enum Since {
    Moment(Timestamp),
    Ago(Duration),
}

impl Since {
    fn parse(text: &str) -> Result<Self, AdminError> {
        let ago = || parse_duration("--since", text, Duration::ZERO..=MAX_SINCE).map(Self::Ago);
        Timestamp::parse(text)
            .map(Self::Moment)
            .or_else(|| ago().ok())
            .ok_or_else(|| AdminError::Since(text.to_owned()))
    }
}

fn described(entry: &AuditEntry) -> String {
    let AuditEntry { at, event, user_id, session_id, address, detail, times, actor, .. } = entry;
    let mut line = format!("{at}  {event}");
    // Writing to a String cannot fail.
    if *times > 1 {
        let _ = write!(line, "  {times} times");
    }
    for (name, id) in [("user", user_id), ("session", session_id)] {
        if let Some(id) = id {
            let _ = write!(line, "  {name} {id}");
        }
    }
    if let Some(address) = address {
        let _ = write!(line, "  from {address}");
    }
    if let Some(actor) = actor {
        let _ = write!(line, "  by {actor}");
    }
    if let Some(detail) = detail {
        let _ = write!(line, "  ({detail})");
    }
    line + "\n"
}
