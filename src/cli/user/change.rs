//! Adding and deleting accounts, and setting passwords.

use std::path::Path;

use serde_json::json;

use super::password::{hash, read_password};
use super::{User, open};
use crate::accounts::admin::AdminOutcome;
use crate::accounts::{Account, AccountDetails, Email, RoleSet};
use crate::cli::{AdminError, is_confirmed};
use crate::config::Config;
use crate::database::Id;

pub(super) async fn add(
    config: &Config,
    email: &str,
    password_file: Option<&Path>,
    roles: &[String],
    is_verified: bool,
    json: bool,
) -> Result<String, AdminError> {
    let email = Email::parse(email)?;
    let roles = RoleSet::parse(roles)?;
    let admin = open(config).await?;
    admin.check_roles(&roles)?;
    let taken = || AdminError::EmailTaken(email.to_string());
    // Before the password is typed.
    if admin.find(email.as_str()).await?.is_some() {
        return Err(taken());
    }
    let password = read_password(password_file)?;
    let hash = hash(config, email.as_str(), &password).await?;
    let account = admin.add(email.clone(), hash, roles, is_verified).await?.ok_or_else(taken)?;
    let Account { id, email, roles, created_at, .. } = account;
    Ok(if json {
        format!(
            "{}\n",
            json!({ "id": id, "email": email, "roles": roles, "created_at": created_at })
        )
    } else {
        format!("added {email}, {id}\n")
    })
}

pub(super) async fn delete(config: &Config, user: &User, yes: bool) -> Result<String, AdminError> {
    let admin = open(config).await?;
    let unknown = || AdminError::NoSuchUser(user.user.clone());
    // A closed account has no address any more and is found only by id.
    let (id, name) = match admin.find(&user.user).await? {
        Some(AccountDetails { id, email, .. }) => (id, email),
        None => (Id::parse(&user.user).ok_or_else(unknown)?, user.user.clone()),
    };
    if !yes && !is_confirmed(&format!("Delete {name} permanently? Type yes to continue:"))? {
        return Err(AdminError::NotConfirmed);
    }
    let AdminOutcome { changed, sessions_ended } = admin.delete(id).await?;
    if !changed {
        return Err(unknown());
    }
    Ok(if user.json {
        format!("{}\n", json!({ "id": id, "changed": changed, "sessions_ended": sessions_ended }))
    } else {
        format!("deleted {name}; sessions that ended: {sessions_ended}\n")
    })
}
