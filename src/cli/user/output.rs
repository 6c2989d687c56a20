//! The accounts and the outcome of a command, as text or JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{User, find};
use crate::accounts::AccountDetails;
use crate::accounts::admin::{AccountAdmin, AccountFilter, AdminOutcome};
use crate::cli::AdminError;
use crate::database::Id;

pub(super) async fn list(
    admin: &AccountAdmin,
    after: Option<&str>,
    disabled: bool,
    limit: u32,
    json: bool,
) -> Result<String, AdminError> {
    let unknown = |id: &str| AdminError::NoSuchUser(id.to_owned());
    let after = after.map(|id| Id::parse(id).ok_or_else(|| unknown(id))).transpose()?;
    let wanted = AccountFilter { email: None, disabled: disabled.then_some(true), after, limit };
    let listed_accounts = admin.search(wanted).await?.accounts;
    if json {
        return Ok(format!("{}\n", listed_accounts.iter().map(as_json).collect::<Value>()));
    }
    let mut lines = String::new();
    for account in &listed_accounts {
        let AccountDetails { id, email, created_at, .. } = account;
        let state = match (account.disabled_at, account.invited_until) {
            (Some(_), _) => "  disabled",
            (None, Some(_)) => "  invited",
            (None, None) => "",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{id}  {created_at}  {email}{state}");
    }
    Ok(lines)
}

pub(super) async fn show(admin: &AccountAdmin, user: &User) -> Result<String, AdminError> {
    let account = find(admin, &user.user).await?;
    let sessions = admin.sessions_of(account.id).await?;
    if user.json {
        let mut shown = as_json(&account);
        shown["live_sessions"] = json!(sessions);
        return Ok(format!("{shown}\n"));
    }
    let moment = |at: Option<_>, never: &str| at.map_or(never.to_owned(), |at| format!("{at}"));
    Ok(format!(
        "id: {}\nemail: {}\nemail proven: {}\nroles: {}\nclaims: {}\ncreated: {}\n\
         invited until: {}\npassword changed: {}\nlast login: {}\ndisabled: {}\n\
         second factors: {}\nlive sessions: {sessions}\n",
        account.id,
        account.email,
        if account.email_verified { "yes" } else { "no" },
        account.roles.join(" "),
        account.claims.as_deref().unwrap_or("none"),
        account.created_at,
        moment(account.invited_until, "no"),
        account.password_changed_at,
        moment(account.last_login_at, "never"),
        moment(account.disabled_at, "no"),
        if account.factors.is_empty() { "none".into() } else { account.factors.join(" ") },
    ))
}

pub(super) fn outcome_text(
    user: &User,
    account: &AccountDetails,
    done: AdminOutcome,
    did: &str,
    otherwise: &str,
) -> String {
    let (AccountDetails { id, email, .. }, AdminOutcome { changed, sessions_ended }) =
        (account, done);
    if user.json {
        let outcome_text = json!({
            "id": id, "email": email, "changed": changed, "sessions_ended": sessions_ended
        });
        format!("{outcome_text}\n")
    } else if changed {
        format!("{did} {email}; sessions that ended: {sessions_ended}\n")
    } else {
        format!("{email}: {otherwise}\n")
    }
}

fn as_json(account: &AccountDetails) -> Value {
    let mut shown = account.to_json();
    shown["last_login_at"] = json!(account.last_login_at);
    shown["disabled_at"] = json!(account.disabled_at);
    shown
}
