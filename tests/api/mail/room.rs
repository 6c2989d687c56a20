//! A full table of mail requests.

use doorward::config::Verification;

use super::{NEW_PASSWORD, rows};
use crate::support::mailbox::{request_of, with_mail_and};
use crate::support::{PASSWORD, TestApp};

/// The smallest number of rows that the settings allow.
const MAX_ROWS: u64 = 1000;

/// As many resets of unknown addresses, each from a network of its own.
async fn forgot_unknown(app: &TestApp, domain: &str, number: usize) {
    for n in 0..number {
        let from = format!("10.0.{}.{}", n / 250, n % 250);
        app.forgot_from(&from, &format!("nobody{n}@{domain}")).await.assert_status(202);
        // Only a request with an outcome makes room.
        if n % 50 == 0 {
            app.until_mail_is_sent().await;
        }
    }
    app.until_mail_is_sent().await;
}

#[tokio::test]
async fn a_full_table_does_not_tell_which_addresses_have_an_account() {
    let app = with_mail_and(|config| config.email.max_rows = MAX_ROWS).await;
    let user = app.signed_up().await;
    let addresses = [user.email.as_str(), "unknown@example.org"];
    for _ in 0..3 {
        for email in addresses {
            app.forgot_from("198.51.100.1", email).await.assert_status(202);
        }
    }
    for email in addresses {
        app.forgot_from("198.51.100.1", email).await.assert_problem(429, "rate_limited");
    }
    // Ids of one millisecond are in no order.
    app.advance(1);
    forgot_unknown(&app, "example.com", 994).await;
    for email in addresses {
        app.forgot_from("198.51.100.1", email).await.assert_problem(429, "rate_limited");
    }
    forgot_unknown(&app, "example.net", 20).await;
    for email in addresses {
        app.forgot_from("198.51.100.1", email).await.assert_status(202);
    }
    let messages = app.messages_to(&user.email).await;
    assert_eq!(messages.len(), 4);
    app.reset_by_link(&messages[0].token(), NEW_PASSWORD).await.assert_status(200);
    assert!(rows(&app).await <= 1000);
}

#[tokio::test]
async fn registrations_leave_a_quarter_of_the_table_to_resets() {
    let app = with_mail_and(|config| {
        config.email.max_rows = MAX_ROWS;
        config.accounts.verification = Verification::Required;
    });
    let app = app.await;
    let register = async |n: usize| {
        let from = format!("10.0.{}.{}", n / 250, n % 250);
        app.register_from(&from, &format!("user{n}@example.com"), PASSWORD).await
    };
    let request = request_of(register(0).await);
    let code = app.message_to("user0@example.com").await.code();
    app.confirm(&request, &code).await.assert_status(201);
    for n in 1..750 {
        register(n).await.assert_status(202);
    }
    app.until_mail_is_sent().await;
    register(750).await.assert_problem(503, "overloaded");
    app.forgot("user0@example.com").await;
    let messages = app.messages_to("user0@example.com").await;
    assert!(messages.iter().any(|message| message.text.contains("dwm_")));
    forgot_unknown(&app, "example.net", 300).await;
    register(750).await.assert_problem(503, "overloaded");
    // Codes that have expired make room.
    app.advance(10 * 60);
    register(750).await.assert_status(202);
    assert!(rows(&app).await <= 1000);
}
