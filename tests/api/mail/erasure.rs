//! Mail requests of closed accounts: nothing works or is sent any more, and the limits still count
//! them.

use doorward::accounts::mail_proof::MailSource;
use doorward::app::App;
use doorward::config::Verification;
use doorward::secret::Secret;

use super::change::ask;
use super::{NEW_PASSWORD, assert_no_traces};
use crate::support::binary::printed;
use crate::support::mailbox::{request_of, with_mail, with_mail_and};
use crate::support::{PASSWORD, TestApp, Tokens, User};

const VICTIM: &str = "victim@example.org";

/// A session of an account with this address, which may exist already.
async fn user<'a>(app: &'a TestApp, email: &str) -> User<'a> {
    let id = app.register(email, PASSWORD).await.body["id"].as_str().unwrap_or_default().to_owned();
    let tokens: Tokens = app.log_in(email, PASSWORD).await.tokens();
    User { app, id, email: email.to_owned(), tokens }
}

#[tokio::test]
async fn closing_an_account_again_and_again_frees_no_limit() {
    let app = with_mail().await;
    for _ in 0..3 {
        let user = user(&app, VICTIM).await;
        for _ in 0..3 {
            ask(&user, VICTIM, PASSWORD).await;
            app.forgot_from("198.51.100.1", VICTIM).await;
        }
        app.until_mail_is_sent().await;
        user.close(PASSWORD).await.assert_status(204);
        assert_no_traces(&app).await;
    }
    assert_eq!(app.messages_to(VICTIM).await.len(), 6, "three of each purpose");
    // An hour after the request, and no longer.
    app.advance(60 * 60);
    let user = user(&app, VICTIM).await;
    request_of(ask(&user, VICTIM, PASSWORD).await);
    assert_eq!(app.messages_to(VICTIM).await.len(), 7);
}

#[tokio::test]
async fn throwaway_accounts_cause_no_more_mail_to_a_stranger_than_one() {
    let app = with_mail_and(|config| config.accounts.verification = Verification::Required).await;
    for n in 0..3 {
        let email = format!("mallory{n}@example.com");
        let request = request_of(app.register(&email, PASSWORD).await);
        let code = app.message_to(&email).await.code();
        app.confirm(&request, &code).await.assert_status(201);
        let tokens = app.log_in(&email, PASSWORD).await.tokens();
        let user = User { app: &app, id: String::new(), email, tokens };
        for _ in 0..3 {
            ask(&user, VICTIM, PASSWORD).await;
        }
        app.until_mail_is_sent().await;
        user.close(PASSWORD).await.assert_status(204);
        assert_no_traces(&app).await;
    }
    assert_eq!(app.messages_to(VICTIM).await.len(), 3);
}

#[tokio::test]
async fn an_operator_who_deletes_or_moves_an_account_frees_no_limit() {
    let app = with_mail().await;
    app.catch_up();
    for command in [["delete", VICTIM, "--yes"], ["set-email", VICTIM, "free@example.org"]] {
        let user = user(&app, VICTIM).await;
        for _ in 0..3 {
            ask(&user, VICTIM, PASSWORD).await;
        }
        app.until_mail_is_sent().await;
        printed(app.command(&["user"]).args(command));
    }
    user(&app, VICTIM).await;
    assert_eq!(app.messages_to(VICTIM).await.len(), 3);
}

#[tokio::test]
async fn requests_that_wait_are_not_sent_once_the_account_is_closed_and_use_up_no_mail() {
    let app = TestApp::with(crate::support::app::behind_a_proxy).await;
    let user = app.signed_up().await;
    let email = user.email.clone();
    // A service with mail whose sender does not run.
    let mut config = app.config.clone();
    config.email.url = Some(Secret::new(String::from("file:")));
    let (clock, own) = (app.clock.clone(), email.clone());
    let request = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let idle = App::build(&config, &clock).await.unwrap();
            let source = MailSource { network: "198.51.100.1", known_device: None, locale: None };
            idle.api().accounts.forgot_password(&own, source).await.unwrap()
        })
    });
    let request = request.join().unwrap();
    user.close(PASSWORD).await.assert_status(204);
    assert_no_traces(&app).await;
    drop(user);
    let with_mail = |config: &mut doorward::config::Config| {
        config.email.url = Some(Secret::new(String::from("file:")));
    };
    let app = app.restart_with(with_mail).await;
    app.register(&email, PASSWORD).await.assert_status(201);
    app.reset_by_code(&request, "0000-0000", NEW_PASSWORD)
        .await
        .assert_problem(400, "invalid_link");
    assert!(app.messages_to(&email).await.is_empty());
    // The message that was not sent does not count: three are.
    for network in 2..5 {
        app.forgot_from(&format!("198.51.100.{network}"), &email).await.assert_status(202);
    }
    assert_eq!(app.messages_to(&email).await.len(), 3);
}
