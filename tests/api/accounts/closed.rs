//! Closed registration.

use doorward::accounts::SignUpError;
use doorward::accounts::mail_proof::{MailSource, RequestMailError};
use doorward::app::App;
use doorward::config::{Config, Registration, Verification};

use crate::support::TestApp;
use crate::support::client::PASSWORD;
use crate::support::mailbox::{request_of, with_mail_and};
use crate::support::statements::WriterStatements;

#[tokio::test]
async fn closed_registration_answers_alike_for_known_and_unknown_addresses() {
    Box::pin(assert_alike(TestApp::start().await)).await;
}

#[tokio::test]
async fn closed_registration_answers_alike_where_addresses_are_proven() {
    let required = |config: &mut Config| config.accounts.verification = Verification::Required;
    let app = with_mail_and(|_| {}).await;
    let email = app.signed_up().await.email.clone();
    let app = app.restart_with(required).await;
    let pending = request_of(app.register("bea@example.com", PASSWORD).await);
    let code = app.message_to("bea@example.com").await.code();
    let app = Box::pin(assert_alike_after(app, &email)).await;
    assert!(app.messages_to(&email).await.is_empty());
    // A registration that was requested before.
    app.confirm(&pending, &code).await.assert_problem(403, "registration_closed");
}

async fn assert_alike(app: TestApp) {
    let email = app.signed_up().await.email.clone();
    Box::pin(assert_alike_after(app, &email)).await;
}

/// Closes registration and registers `email`, a known address, and unknown ones.
async fn assert_alike_after(app: TestApp, email: &str) -> TestApp {
    let close = |config: &mut Config| {
        config.accounts.registration = Registration::Closed;
    };
    let app = app.restart_with(close).await;
    for email in [email, "nobody@example.com"] {
        app.register(email, PASSWORD).await.assert_problem(403, "registration_closed");
        assert_costs_nothing(&app, email).await;
    }
    app.register("not an address", "short").await.assert_problem(403, "registration_closed");
    // Operators still add accounts, and owners still log in.
    app.log_in(email, PASSWORD).await.assert_status(200);
    app
}

/// Asserts that no statement and no hash runs: nothing could take longer for a known address.
async fn assert_costs_nothing(app: &TestApp, email: &str) {
    // A service whose tasks do not run: their statements would be counted, too.
    let idle = App::build(&app.config, &app.clock).await.unwrap();
    let (accounts, db) = (&idle.api().accounts, &idle.api().db);
    let written = WriterStatements::count(db).await;
    let counts = || (db.load().statements, written.so_far(), accounts.hasher().hashed());
    let before = counts();
    for _ in 0..3 {
        let network = "198.51.100.1";
        let source = MailSource { network, known_device: None, locale: None };
        if app.config.accounts.verification == Verification::Required {
            let refused = accounts.request_registration(email, PASSWORD, source).await;
            assert!(matches!(refused, Err(RequestMailError::Closed)), "{refused:?}");
        } else {
            let refused = accounts.sign_up(email, PASSWORD, network).await;
            assert!(matches!(refused, Err(SignUpError::Closed)), "{refused:?}");
        }
    }
    assert_eq!(counts(), before);
}
