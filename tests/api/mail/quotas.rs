//! Messages of one kind use up none of another's quota.

use doorward::config::Verification;
use serde_json::json;

use crate::support::mailbox::{request_of, with_mail_and};
use crate::support::{Answer, PASSWORD, TestApp, Tokens};

const OWNER: &str = "owner@example.org";

async fn with_verification() -> TestApp {
    with_mail_and(|config| config.accounts.verification = Verification::Required).await
}

async fn registered(app: &TestApp, email: &str) -> Tokens {
    let request = request_of(app.register_from("203.0.113.1", email, PASSWORD).await);
    let code = app.message_to(email).await.code();
    app.confirm(&request, &code).await.assert_status(201);
    app.log_in(email, PASSWORD).await.tokens()
}

async fn change_from(app: &TestApp, network: &str, tokens: &Tokens, email: &str) -> Answer {
    let body = json!({ "email": email, "current_password": PASSWORD });
    let call = app.post("/me/email").header("x-forwarded-for", network);
    call.bearer(&tokens.access).json(&body).send().await
}

/// Five requests of each of three accounts to change their address to this one.
async fn flood_of_changes(app: &TestApp, email: &str) {
    for account in 0..3 {
        let tokens = registered(app, &format!("mallory{account}@example.com")).await;
        for n in 0..5 {
            let network = format!("198.51.{account}.{}", n / 3);
            change_from(app, &network, &tokens, email).await.assert_status(202);
        }
    }
    app.until_mail_is_sent().await;
}

#[tokio::test]
async fn messages_that_an_account_exists_use_up_no_reset() {
    let app = with_verification().await;
    registered(&app, OWNER).await;
    app.clear_outbox().await;
    for network in 0..5 {
        for _ in 0..3 {
            let from = format!("198.51.100.{network}");
            app.register_from(&from, OWNER, PASSWORD).await.assert_status(202);
        }
        app.until_mail_is_sent().await;
        let expected = 3.min(network + 1);
        assert_eq!(app.messages_to(OWNER).await.len(), expected, "one for each of three networks");
    }
    flood_of_changes(&app, OWNER).await;
    let messages = app.messages_to(OWNER).await;
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|message| message.subject.contains("You have an account")));
    // Neither do they use up those of known networks.
    app.forgot_from("192.0.2.9", OWNER).await.assert_status(202);
    let messages = app.messages_to(OWNER).await;
    assert_eq!(messages.len(), 4);
    assert!(messages.iter().any(|message| message.text.contains("dwm_")));
}

#[tokio::test]
async fn a_newcomer_gets_a_code_although_strangers_cause_other_messages() {
    let app = with_verification().await;
    flood_of_changes(&app, OWNER).await;
    assert_eq!(app.messages_to(OWNER).await.len(), 6, "codes for changes of address");
    for network in 0..5 {
        for _ in 0..3 {
            let from = format!("198.51.200.{network}");
            app.forgot_from(&from, OWNER).await.assert_status(202);
        }
    }
    app.clear_outbox().await;
    registered(&app, OWNER).await;
}

#[tokio::test]
async fn registrations_of_strangers_use_up_no_reset() {
    let app = with_verification().await;
    for network in 0..5 {
        for _ in 0..3 {
            let from = format!("198.51.100.{network}");
            app.register_from(&from, OWNER, PASSWORD).await.assert_status(202);
        }
        app.until_mail_is_sent().await;
    }
    let codes = app.messages_to(OWNER).await;
    assert_eq!(codes.len(), 12, "in all");
    app.forgot(OWNER).await;
    assert_eq!(app.messages_to(OWNER).await.len(), 12, "there is no account");
}
