//! Closed registration.

use std::time::Duration;

use doorward::clock::Clock;
use doorward::config::{Config, Registration, Verification};

use crate::support::TestApp;
use crate::support::client::PASSWORD;
use crate::support::mailbox::{request_of, with_mail_and};

/// Requests for each address.
const ROUNDS: usize = 40;

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
    let before = app.hashed();
    let clock = Clock::system();
    let mut took = [Vec::new(), Vec::new()];
    for n in 0..ROUNDS {
        let unknown = format!("nobody{n}@example.com");
        for (email, took) in [email, &unknown].into_iter().zip(&mut took) {
            let asked = clock.monotonic();
            let answer = app.register(email, PASSWORD).await;
            took.push(clock.monotonic() - asked);
            answer.assert_problem(403, "registration_closed");
        }
    }
    // No hash and no statement: nothing could take longer for one of them.
    assert_eq!(app.hashed(), before);
    let median = took.map(|mut took| {
        took.sort();
        took[ROUNDS / 2]
    });
    println!("closed registration: known {:.1?}, unknown {:.1?}", median[0], median[1]);
    assert!(median[0].abs_diff(median[1]) < Duration::from_millis(20), "{median:?}");
    app.register("not an address", "short").await.assert_problem(403, "registration_closed");
    // Operators still add accounts, and owners still log in.
    app.log_in(email, PASSWORD).await.assert_status(200);
    app
}
