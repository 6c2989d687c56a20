//! Invitations: accounts whose owners set the first password.

use diesel::prelude::*;
use doorward::config::Registration;
use doorward::database::schema::{mail_requests, users};
use serde_json::Value;

use crate::support::app::CROWD;
use crate::support::binary::{printed, run};
use crate::support::mailbox::{invite, race_invitation, with_mail_and};
use crate::support::{PASSWORD, TestApp, claims, id};

use super::{NEW_PASSWORD, OTHER_PASSWORD, rows};

const ADA: &str = "ada@example.com";
const DAY: u64 = 24 * 60 * 60;

async fn by_invitation() -> TestApp {
    let app = with_mail_and(|config| config.accounts.registration = Registration::Invite).await;
    app.catch_up();
    app
}

/// The token in the link that the command has printed.
fn token(invited: &Value) -> &str {
    invited["link"].as_str().unwrap().split_once("/reset#token=").unwrap().1
}

fn user(app: &TestApp, arguments: &[&str]) -> std::process::Command {
    let mut command = app.command(&["user"]);
    command.env("DOORWARD_EMAIL__URL", "file:").args(arguments);
    command
}

/// The state of an account in `user list`.
fn listed(app: &TestApp) -> String {
    printed(&mut user(app, &["list"]))
}

#[tokio::test]
async fn an_invitation_works_from_the_command_to_the_first_login() {
    let app = by_invitation().await;
    app.register(ADA, PASSWORD).await.assert_problem(403, "registration_closed");
    let invited = invite(&app, ADA, &["--role", "editor"]);
    assert_eq!(invited["mailed"], true);
    assert!(listed(&app).contains("ada@example.com  invited"));
    let message = app.message_to(ADA).await;
    assert_eq!(message.token(), token(&invited), "the printed link is the mailed one");
    assert!(message.subject.starts_with("Your account with "), "{}", message.subject);
    let until = invited["invited_until"].as_str().unwrap();
    assert!(message.text.contains(&until[..10]), "{}", message.text);
    for guess in ["", PASSWORD] {
        app.log_in(ADA, guess).await.assert_problem(401, "invalid_credentials");
    }
    // A rejected password does not use up the link.
    app.reset_by_link(token(&invited), "short").await.assert_problem(422, "invalid_fields");
    let tokens = app.reset_by_link(token(&invited), NEW_PASSWORD).await.tokens();
    assert_eq!(claims(&tokens.access)["roles"], serde_json::json!(["editor"]));
    assert_eq!(app.me(&tokens.access).await.body["email_verified"], true);
    app.log_in(ADA, NEW_PASSWORD).await.assert_status(200);
    for _ in 0..2 {
        let again = app.reset_by_link(token(&invited), OTHER_PASSWORD).await;
        again.assert_problem(400, "invalid_link");
    }
    assert!(!listed(&app).contains("invited"));
    assert_eq!(app.messages_to(ADA).await.len(), 1, "no notice about the first password");
    // From now on a forgotten password is reset.
    app.forgot(ADA).await;
    assert!(!app.messages_to(ADA).await[1].code().is_empty());
}

#[tokio::test]
async fn of_twenty_concurrent_uses_of_invitations_one_succeeds() {
    let app = with_mail_and(|config| config.database.pool_size = CROWD).await;
    app.catch_up();
    race_invitation(&app, &app).await;
}

#[tokio::test]
async fn a_forgotten_password_sends_the_invitation_again() {
    let app = by_invitation().await;
    let invited = invite(&app, ADA, &[]);
    app.clear_outbox().await;
    app.forgot(ADA).await;
    let again = app.message_to(ADA).await;
    assert!(again.subject.starts_with("Your account with "), "{}", again.subject);
    // It is valid as long as the first one, and not only for an hour.
    app.advance(6 * DAY);
    app.reset_by_link(&again.token(), NEW_PASSWORD).await.assert_status(200);
    app.reset_by_link(token(&invited), OTHER_PASSWORD).await.assert_problem(400, "invalid_link");
    app.log_in(ADA, NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn after_seven_days_the_account_is_closed() {
    let app = by_invitation().await;
    let invited = invite(&app, ADA, &[]);
    app.until_mail_is_sent().await;
    app.advance(7 * DAY + 1);
    app.reset_by_link(token(&invited), NEW_PASSWORD).await.assert_problem(400, "invalid_link");
    let admin = &app.api.account_admin;
    assert!(admin.close_expired_invitations(app.clock.now()).await.unwrap());
    assert!(!admin.close_expired_invitations(app.clock.now()).await.unwrap());
    app.api.accounts.purge().await.unwrap();
    let left = app.db().read(|c| users::table.count().get_result::<i64>(c)).await.unwrap();
    assert_eq!((left, rows(&app).await), (0, 0));
    // The address is free.
    invite(&app, ADA, &[]);
}

#[tokio::test]
async fn an_accepted_invitation_never_expires() {
    let app = by_invitation().await;
    let invited = invite(&app, ADA, &[]);
    app.reset_by_link(token(&invited), NEW_PASSWORD).await.assert_status(200);
    app.advance(8 * DAY);
    let admin = &app.api.account_admin;
    assert!(!admin.close_expired_invitations(app.clock.now()).await.unwrap());
    app.log_in(ADA, NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn roles_leave_an_invitation_valid_and_a_block_an_address_or_a_password_do_not() {
    let app = by_invitation().await;
    let (admin, reset) = (app.admin(), async |invited: &Value| {
        app.reset_by_link(token(invited), NEW_PASSWORD).await
    });
    let invited = invite(&app, ADA, &[]);
    printed(&mut user(&app, &["roles", "add", ADA, "editor"]));
    let account = id(invited["id"].as_str().unwrap());
    admin.disable(account).await.unwrap();
    reset(&invited).await.assert_problem(400, "invalid_link");
    admin.enable(account).await.unwrap();
    reset(&invited).await.assert_status(200);

    let moved = invite(&app, "bea@example.com", &[]);
    printed(&mut user(&app, &["set-email", "bea@example.com", "bea@example.org"]));
    reset(&moved).await.assert_problem(400, "invalid_link");
    // The invitation for the new address.
    app.clear_outbox().await;
    printed(&mut user(&app, &["mail-reset", "bea@example.org"]));
    app.catch_up();
    let again = app.message_to("bea@example.org").await.token();
    let hash = app.api.accounts.hasher();
    let password = doorward::passwords::Password::parse(PASSWORD).unwrap();
    let hash = hash.hash(password).await.unwrap();
    admin.set_password(id(moved["id"].as_str().unwrap()), hash).await.unwrap();
    app.reset_by_link(&again, NEW_PASSWORD).await.assert_problem(400, "invalid_link");
    app.log_in("bea@example.org", PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn an_invitation_is_valid_only_while_the_account_has_the_address_it_was_sent_to() {
    let app = by_invitation().await;
    let invited = invite(&app, ADA, &["--role", "admin"]);
    app.clear_outbox().await;
    app.forgot(ADA).await;
    let again = app.message_to(ADA).await.token();
    app.clear_outbox().await;
    correct_address_unseen(&app, "bea@example.com").await;
    for token in [token(&invited), &again] {
        app.reset_by_link(token, NEW_PASSWORD).await.assert_problem(400, "invalid_link");
    }
    assert!(listed(&app).contains("bea@example.com  invited"));
    // A message that still waits is not sent.
    app.db()
        .write(|tx| {
            let waiting = (
                mail_requests::next_send_at.eq(mail_requests::created_at.nullable()),
                mail_requests::outcome.eq(None::<String>),
                mail_requests::handed_at.eq(None::<i64>),
                mail_requests::leased_until.eq(None::<i64>),
            );
            diesel::update(mail_requests::table).set(waiting).execute(tx.connection())
        })
        .await
        .unwrap();
    assert!(app.messages().await.is_empty());
    let outcomes = app
        .db()
        .read(|c| mail_requests::table.select(mail_requests::outcome).load::<Option<String>>(c));
    let superseded = Some(String::from("superseded"));
    assert_eq!(outcomes.await.unwrap(), [superseded.clone(), superseded]);
    // The new address gets its own.
    app.forgot("bea@example.com").await;
    let link = app.message_to("bea@example.com").await.token();
    app.reset_by_link(&link, NEW_PASSWORD).await.assert_status(200);
}

/// Changes the address of the only account and leaves its requests: on PostgreSQL, the sender may
/// have read the account before the change, and commit its choice afterwards.
async fn correct_address_unseen(app: &TestApp, email: &'static str) {
    app.db()
        .write(move |tx| {
            let address = (
                users::email.eq(email),
                users::email_key.eq(email),
                users::credentials_version.eq(users::credentials_version + 1_i64),
            );
            diesel::update(users::table).set(address).execute(tx.connection())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_login_costs_the_same_for_an_invited_and_an_unknown_address() {
    let app = by_invitation().await;
    invite(&app, ADA, &[]);
    for address in [ADA, "nobody@example.com"] {
        let before = app.hashed();
        app.log_in(address, PASSWORD).await.assert_problem(401, "invalid_credentials");
        assert_eq!(app.hashed() - before, 1, "{address}");
        app.forgot(address).await;
    }
}

#[tokio::test]
async fn while_mail_is_off_the_command_prints_the_link() {
    let app = TestApp::with(|config| config.accounts.registration = Registration::Invite).await;
    app.catch_up();
    let command = || {
        let mut command = app.command(&["user", "invite", ADA, "--json"]);
        command.env("DOORWARD_PUBLIC_URL", "https://login.example.com");
        command
    };
    let refused = run(&mut command()).stderr;
    assert!(refused.contains("mail is off"), "{refused}");
    let printed = printed(command().env("DOORWARD_ACCOUNTS__REGISTRATION", "invite"));
    let invited: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(invited["mailed"], false);
    app.get("/reset").send().await.assert_status(200);
    app.reset_by_link(token(&invited), NEW_PASSWORD).await.assert_status(200);
    app.log_in(ADA, NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn an_address_is_invited_once() {
    let app = by_invitation().await;
    invite(&app, ADA, &[]);
    let refused = run(&mut user(&app, &["invite", "Ada@Example.com"])).stderr;
    assert!(refused.contains("is invited already; `doorward user mail-reset`"), "{refused}");
    assert_eq!(rows(&app).await, 1);
    let link = app.message_to(ADA).await.token();
    app.reset_by_link(&link, NEW_PASSWORD).await.assert_status(200);
    let refused = run(&mut user(&app, &["invite", ADA])).stderr;
    assert!(refused.contains("there is an account"), "{refused}");
}
