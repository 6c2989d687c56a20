//! `doorward user invite`, `mail-reset` and `mark-verified`.

use serde_json::json;

use super::grants::refused;
use super::output::outcome_text;
use super::{User, find, of};
use crate::accounts::admin::{
    AccountAdmin, AccountUpdate, AdminOutcome, Invitation, OperatorMailError,
};
use crate::accounts::{Email, RoleSet};
use crate::app;
use crate::cli::{AdminError, Opened};
use crate::config::{Config, Registration};
use crate::database::ExpectedVersion;
use crate::mail::requests::MailRequestError;

pub(super) async fn invite(
    config: &Config,
    email: &str,
    roles: &[String],
    json: bool,
) -> Result<String, AdminError> {
    let (email, roles) = (Email::parse(email)?, RoleSet::parse(roles)?);
    // Doorward's own page, to which the link leads, is off while mail is.
    let is_mailed = config.mail_url()?.is_some();
    if !is_mailed && config.accounts.registration != Registration::Invite {
        return Err(AdminError::InviteOff);
    }
    let admin = open_for_links(config).await?;
    admin.check_roles(&roles)?;
    let Invitation { account, token } = match admin.invite(email.clone(), roles).await {
        Ok(made) => made,
        Err(OperatorMailError::Taken) => return Err(taken(&admin, &email).await?),
        Err(error) => return Err(mail_refused(&error, email.as_str())),
    };
    let info = app::mail::service_info(config, &config.issuer(config.listen))?;
    let link = info.link_with(&token);
    Ok(if json {
        let invited = json!({
            "id": account.id,
            "email": account.email,
            "roles": account.roles,
            "created_at": account.created_at,
            "invited_until": account.invited_until,
            "link": link,
            "mailed": is_mailed,
        });
        format!("{invited}\n")
    } else {
        let until = account.invited_until.map(|at| at.to_string()).unwrap_or_default();
        let how = if is_mailed { "the link is mailed as well" } else { "mail is off" };
        format!("invited {email}, {}, until {until}; {how}\n{link}\n", account.id)
    })
}

pub(super) async fn mail_reset(config: &Config, user: &User) -> Result<String, AdminError> {
    let admin = open_for_links(config).await?;
    let account = find(&admin, &user.user).await?;
    let requested = admin.mail_reset(account.id).await;
    requested.map_err(|error| mail_refused(&error, &user.user))?;
    Ok(if user.json {
        format!("{}\n", json!({ "id": account.id, "email": account.email }))
    } else {
        format!("a message to {} is sent within seconds, while the service runs\n", account.email)
    })
}

pub(super) async fn mark_verified(config: &Config, user: &User) -> Result<String, AdminError> {
    let (admin, account) = of(config, user).await?;
    let update = AccountUpdate { email_verified: Some(true), ..AccountUpdate::default() };
    let updated = admin.update(account.id, update, ExpectedVersion::Any).await;
    let after = updated.map_err(|error| refused(error, user))?;
    let changed = after.email_verified != account.email_verified;
    let done = AdminOutcome { changed, sessions_ended: 0 };
    Ok(outcome_text(user, &account, done, "recorded as proven:", "proven already"))
}

/// Opens the accounts with the service's secret, under which the links of messages are made.
async fn open_for_links(config: &Config) -> Result<AccountAdmin, AdminError> {
    let opened = Opened::new(config).await?;
    let (db, clock) = (opened.db.clone(), opened.clocks.clock.clone());
    let mail = app::mail::for_links(config, db, clock)?;
    Ok(super::accounts(config, opened)?.with_mail(mail))
}

/// Why an address that has an account cannot be invited.
async fn taken(admin: &AccountAdmin, email: &Email) -> Result<AdminError, AdminError> {
    let account = admin.find(email.as_str()).await?;
    let is_invited = account.is_some_and(|account| account.is_invited());
    let error = if is_invited { AdminError::Invited } else { AdminError::EmailTaken };
    Ok(error(email.to_string()))
}

fn mail_refused(error: &OperatorMailError, name: &str) -> AdminError {
    match error {
        OperatorMailError::NoSuchUser | OperatorMailError::Taken => {
            AdminError::NotMailable(name.to_owned())
        }
        OperatorMailError::Request(MailRequestError::Off) => AdminError::MailOff,
        OperatorMailError::Request(MailRequestError::Store(error)) => (*error).into(),
        OperatorMailError::Request(MailRequestError::TooMany { .. }) => {
            AdminError::TooMuchMail(name.to_owned())
        }
        OperatorMailError::Request(MailRequestError::Full { .. }) => AdminError::MailFull,
    }
}
