//! The audit trail: stored events, who sees them, and the cost of a flood of failures.

mod actors;
mod events;
mod failures;
mod list;
mod retention;

use std::process::Command;

use diesel::prelude::*;
use doorward::audit::{self, EventFilter, EventKind};
use doorward::database::schema::audit_events;

use crate::support::binary::printed;
use crate::support::{Answer, TestApp, User};

const NEW_PASSWORD: &str = "eight walnuts paint the harbour";

async fn activity(user: &User<'_>, query: &str) -> Answer {
    let path = format!("/me/activity{query}");
    user.app.get(&path).bearer(&user.tokens.access).send().await.assert_status(200)
}

/// The events of an answer, each as its name and its detail.
fn named(answer: &Answer) -> Vec<(&str, Option<&str>)> {
    let events = answer.body["events"].as_array().unwrap();
    events.iter().map(|it| (it["event"].as_str().unwrap(), it["detail"].as_str())).collect()
}

async fn rows(app: &TestApp) -> i64 {
    app.db().read(|c| audit_events::table.count().get_result(c)).await.unwrap()
}

/// The actor of commands that the tests run.
pub fn os_actor() -> String {
    format!("os:{}", printed(Command::new("id").arg("-un")).trim())
}

pub async fn stored(app: &TestApp, kind: EventKind) -> Vec<audit::AuditEntry> {
    let wanted =
        EventFilter { user: None, kind: Some(kind), since: None, before: None, limit: 1000 };
    audit::list(app.db(), wanted).await.unwrap().events
}
