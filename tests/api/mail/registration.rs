//! Registration with a proof of the address.

use doorward::config::Verification;
use futures_util::future::join_all;

use super::OTHER_PASSWORD;
use crate::support::mailbox::{request_of, with_mail_and};
use crate::support::{PASSWORD, TestApp};

const ADA: &str = "ada@example.com";

async fn proving() -> TestApp {
    with_mail_and(|config| config.accounts.verification = Verification::Required).await
}

#[tokio::test]
async fn the_account_is_created_when_the_code_is_confirmed() {
    let app = proving().await;
    let request = request_of(app.register(ADA, PASSWORD).await);
    app.log_in(ADA, PASSWORD).await.assert_problem(401, "invalid_credentials");
    let message = app.message_to(ADA).await;
    assert!(!message.text.contains("dwm_") && !message.text.contains("dwq_"), "{}", message.text);
    let account = app.confirm(&request, &message.code()).await.assert_status(201);
    assert_eq!(account.body["email"], ADA);
    let tokens = app.log_in(ADA, PASSWORD).await.tokens();
    assert_eq!(app.me(&tokens.access).await.body["email_verified"], true);
    app.confirm(&request, &message.code()).await.assert_problem(400, "invalid_link");
}

#[tokio::test]
async fn a_stranger_who_registers_the_address_gains_nothing_in_any_order() {
    for stranger_is_first in [true, false] {
        let app = proving().await;
        let mut registrations = [("198.51.100.1", OTHER_PASSWORD), ("192.0.2.1", PASSWORD)];
        if !stranger_is_first {
            registrations.reverse();
        }
        let mut requests = Vec::new();
        for (network, password) in registrations {
            // Ids of two moments are in order.
            app.advance(1);
            requests.push(request_of(app.register_from(network, ADA, password).await));
            app.until_mail_is_sent().await;
        }
        if !stranger_is_first {
            requests.reverse();
        }
        let [strangers, owners] = requests.as_slice() else { panic!("two requests") };
        let messages = app.messages_to(ADA).await;
        assert_eq!(messages.len(), 2);
        let (first, second) = (messages[0].code(), messages[1].code());
        let own = if stranger_is_first { &second } else { &first };
        // The stranger has no code. The owner, who cannot know which code is whose, has both.
        app.confirm(strangers, "0000-0000").await.assert_problem(400, "invalid_link");
        app.confirm(owners, own).await.assert_status(201);
        app.log_in(ADA, OTHER_PASSWORD).await.assert_problem(401, "invalid_credentials");
        app.log_in(ADA, PASSWORD).await.assert_status(200);
        for code in [&first, &second] {
            app.confirm(strangers, code).await.assert_problem(400, "invalid_link");
        }
        app.log_in(ADA, OTHER_PASSWORD).await.assert_problem(401, "invalid_credentials");
    }
}

#[tokio::test]
async fn of_two_confirmed_registrations_of_an_address_the_second_is_rejected() {
    let app = proving().await;
    let one = request_of(app.register_from("192.0.2.1", ADA, PASSWORD).await);
    app.advance(1);
    let other = request_of(app.register_from("192.0.2.2", "ADA@example.com", OTHER_PASSWORD).await);
    let messages = app.messages().await;
    let codes = [messages[0].code(), messages[1].code()];
    let tries = (0..8).map(|n| {
        let (app, request) = (&app, if n % 2 == 0 { &one } else { &other });
        let code = &codes[n % 2];
        async move { app.confirm(request, code).await }
    });
    let answers = join_all(tries).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1, "{answers:#?}");
}

#[tokio::test]
async fn the_owner_of_a_known_address_is_told_that_an_account_exists() {
    let app = proving().await;
    let first = request_of(app.register(ADA, PASSWORD).await);
    app.confirm(&first, &app.message_to(ADA).await.code()).await.assert_status(201);
    app.clear_outbox().await;
    let again = request_of(app.register("Ada@Example.com", OTHER_PASSWORD).await);
    let message = app.message_to(ADA).await;
    assert!(message.subject.contains("You have an account"), "{message:?}");
    assert!(!message.text.contains("dwm_"), "{message:?}");
    app.confirm(&again, "0000-0000").await.assert_problem(400, "invalid_link");
    app.log_in(ADA, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_request_is_valid_for_its_purpose_only() {
    let app = proving().await;
    let registration = request_of(app.register(ADA, PASSWORD).await);
    let code = app.message_to(ADA).await.code();
    app.reset_by_code(&registration, &code, OTHER_PASSWORD)
        .await
        .assert_problem(400, "invalid_link");
    app.confirm(&registration, &code).await.assert_status(201);
    app.clear_outbox().await;
    let reset = app.forgot(ADA).await;
    let message = app.message_to(ADA).await;
    app.confirm(&reset, &message.code()).await.assert_problem(400, "invalid_link");
    app.confirm(&message.token(), &message.code()).await.assert_problem(400, "invalid_link");
    let tokens = app.log_in(ADA, PASSWORD).await.tokens();
    let body = serde_json::json!({ "request": reset, "code": message.code() });
    let call = app.post("/me/email/confirm").bearer(&tokens.access).json(&body);
    call.send().await.assert_problem(400, "invalid_link");
    app.reset_by_code(&reset, &message.code(), OTHER_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn an_invalid_address_or_password_is_rejected_as_without_proof() {
    let app = proving().await;
    app.register("ada", PASSWORD).await.assert_problem(422, "invalid_fields");
    app.register(ADA, "short").await.assert_problem(422, "invalid_fields");
    for odd in ["ada@example.com\r\nBcc: eve@example.com", "a@b.c, d@e.f", "<ada@example.com>"] {
        app.register(odd, PASSWORD).await.assert_problem(422, "invalid_fields");
        app.forgot_from("192.0.2.1", odd).await.assert_problem(422, "invalid_fields");
    }
    assert!(app.messages().await.is_empty());
}

#[tokio::test]
async fn a_message_is_in_the_language_of_the_browser() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("de")).unwrap();
    let german = "Subject: Ihr Code\n\nIhr Code ist {{ code }}\n";
    std::fs::write(folder.path().join("de/registration.txt"), german).unwrap();
    let templates = folder.path().to_owned();
    let app = with_mail_and(|config| {
        config.accounts.verification = Verification::Required;
        config.email.templates = templates;
    })
    .await;
    let body = serde_json::json!({ "email": ADA, "password": PASSWORD });
    let call = app.post("/register").header("accept-language", "de-AT,de;q=0.9");
    let request = request_of(call.json(&body).send().await);
    let message = app.message_to(ADA).await;
    assert_eq!(message.subject, "Ihr Code");
    app.confirm(&request, &message.code()).await.assert_status(201);
}
