//! The accounts and the outcome of a command, as text or JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{User, find};
use crate::accounts::AccountDetails;
use crate::accounts::admin::{AccountAdmin, AdminOutcome};
use crate::cli::OperateError;
use crate::database::Id;

pub(super) async fn list(
    operator: &AccountAdmin,
    after: Option<&str>,
    limit: u32,
    json: bool,
) -> Result<String, OperateError> {
    let unknown = |id: &str| OperateError::NoSuchUser(id.to_owned());
    let after = after.map(|id| Id::parse(id).ok_or_else(|| unknown(id))).transpose()?;
    let people = operator.list(after, limit).await?;
    if json {
        return Ok(format!("{}\n", people.iter().map(as_json).collect::<Value>()));
    }
    let mut lines = String::new();
    for AccountDetails { id, email, created_at, disabled_at, .. } in &people {
        let state = if disabled_at.is_some() { "  disabled" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{id}  {created_at}  {email}{state}");
    }
    Ok(lines)
}

pub(super) async fn show(operator: &AccountAdmin, user: &User) -> Result<String, OperateError> {
    let person = find(operator, &user.user).await?;
    let sessions = operator.sessions_of(person.id).await?;
    if user.json {
        let mut shown = as_json(&person);
        shown["live_sessions"] = json!(sessions);
        return Ok(format!("{shown}\n"));
    }
    let moment = |at: Option<_>, never: &str| at.map_or(never.to_owned(), |at| format!("{at}"));
    Ok(format!(
        "id: {}\nemail: {}\nroles: {}\ncreated: {}\npassword changed: {}\nlast login: {}\n\
         disabled: {}\nlive sessions: {sessions}\n",
        person.id,
        person.email,
        person.roles.join(" "),
        person.created_at,
        person.password_changed_at,
        moment(person.last_login_at, "never"),
        moment(person.disabled_at, "no"),
    ))
}

pub(super) fn said(
    user: &User,
    person: &AccountDetails,
    done: AdminOutcome,
    did: &str,
    otherwise: &str,
) -> String {
    let (AccountDetails { id, email, .. }, AdminOutcome { changed, sessions_ended }) =
        (person, done);
    if user.json {
        let said = json!({
            "id": id, "email": email, "changed": changed, "sessions_ended": sessions_ended
        });
        format!("{said}\n")
    } else if changed {
        format!("{did} {email}; sessions that ended: {sessions_ended}\n")
    } else {
        format!("{email}: {otherwise}\n")
    }
}

fn as_json(person: &AccountDetails) -> Value {
    json!({
        "id": person.id,
        "email": person.email,
        "roles": person.roles,
        "created_at": person.created_at,
        "password_changed_at": person.password_changed_at,
        "last_login_at": person.last_login_at,
        "disabled_at": person.disabled_at,
    })
}
