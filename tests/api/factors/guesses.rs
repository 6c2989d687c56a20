//! Guesses at codes: limited by the account's row, and harmless to its owner.

use doorward::config::Config;

use super::proof::{OPERATIONS, attempt, stolen};
use crate::support::mailbox::with_mail_and;
use crate::support::totp::{recovery_code, totp};
use crate::support::{PASSWORD, TestApp};

/// Guesses within a day that are compared.
const LIMIT: usize = 20;

/// The result of many guesses.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    compared: usize,
    refused: usize,
}

async fn guess(app: &TestApp, tokens: &[String], code: &str, from: usize, to: usize) -> Seen {
    let mut seen = Seen::default();
    for n in from..to {
        let network = format!("198.51.100.{}", n % 100);
        let token = &tokens[n % tokens.len()];
        let answer = app.log_in_factor_from(&network, token, &totp(code)).await;
        match answer.status {
            401 => seen.compared += 1,
            429 => {
                let answer = answer.assert_problem(429, "too_many_failed_logins");
                assert!(answer.body.get("transient").is_none());
                seen.refused += 1;
            }
            _ => panic!("{}", answer.text),
        }
    }
    seen
}

#[tokio::test]
async fn of_a_thousand_guesses_from_a_hundred_addresses_twenty_a_day_are_compared() {
    let app =
        with_mail_and(|config: &mut Config| config.limits.failed_logins_per_account = 100).await;
    let ada = app.enrolled().await;
    app.clear_outbox().await;
    let (email, authenticator) = (ada.user.email.clone(), ada.authenticator.clone());
    let codes = ada.recovery_codes.clone();
    let wrong = authenticator.wrong_code(&app);
    let tokens = vec![app.factor_token(&email).await];
    let first = guess(&app, &tokens, &wrong, 0, 500).await;
    assert_eq!(first, Seen { compared: LIMIT, refused: 480 });
    let app = app.restart().await;
    assert_eq!(guess(&app, &tokens, &wrong, 500, 1000).await, Seen { compared: 0, refused: 500 });
    // Nor in one request with the password, nor with the right code.
    let right = totp(&authenticator.code(&app));
    let refused = app.log_in_with(&email, right).await;
    let refused = refused.assert_problem(429, "too_many_failed_logins");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((86_000..=86_400).contains(&seconds), "{seconds}");

    let mail = app.messages_to(&email).await;
    let warnings = mail.iter().filter(|mail| mail.subject.contains("Somebody knows your password"));
    assert_eq!(warnings.count(), 2, "at the fifth guess and at the last: {mail:#?}");
    // The owner gets in.
    let code = recovery_code(&codes[0]);
    app.log_in_with(&email, code).await.assert_status(200);

    app.advance(86_400);
    let tokens = vec![app.factor_token(&email).await];
    let wrong = authenticator.wrong_code(&app);
    assert_eq!(guess(&app, &tokens, &wrong, 0, 30).await, Seen { compared: LIMIT, refused: 10 });
}

#[tokio::test]
async fn guesses_at_every_operation_count_together() {
    let app = with_mail_and(|config: &mut Config| {
        config.limits.failed_logins_per_account = 100;
        config.limits.failed_logins_per_address = 100;
    })
    .await;
    let (ada, stolen) = stolen(&app).await;
    let token = app.factor_token(&ada.user.email).await;
    let wrong = totp(&ada.authenticator.wrong_code(&app));
    let paths: Vec<&str> =
        ["/login/factor", "/me/reauthenticate"].into_iter().chain(OPERATIONS).collect();
    for n in 0..30 {
        let path = paths[n % paths.len()];
        let answer = match path {
            "/login/factor" => app.log_in_factor(&token, &wrong).await,
            _ => attempt(&app, path, &stolen, Some(wrong.clone())).await,
        };
        let (status, code) = match path {
            _ if n >= LIMIT => (429, "too_many_failed_logins"),
            "/login/factor" => (401, "invalid_second_factor"),
            _ => (403, "factor_proof_required"),
        };
        println!("guess {n} at {path}: {}", answer.status);
        answer.assert_problem(status, code);
    }
    // Nor is the right code compared, wherever it is sent.
    let right = totp(&ada.authenticator.code(&app));
    for path in OPERATIONS.into_iter().chain(["/me/reauthenticate"]) {
        let refused = attempt(&app, path, &stolen, Some(right.clone())).await;
        refused.assert_problem(429, "too_many_failed_logins");
    }
    let refused = app.log_in_factor(&token, &right).await;
    refused.assert_problem(429, "too_many_failed_logins");
    let code = recovery_code(&ada.recovery_codes[0]);
    app.log_in_factor(&token, &code).await.assert_status(200);
}

#[tokio::test]
async fn wrong_codes_are_told_to_the_owner_and_right_or_malformed_ones_are_not() {
    let app = with_mail_and(|config: &mut Config| config.limits.failed_logins_per_account = 100);
    let app = app.await;
    let ada = app.enrolled().await;
    app.clear_outbox().await;
    let (email, authenticator) = (&ada.user.email, &ada.authenticator);
    for malformed in ["", "12345", "1234567", "12345x"] {
        app.log_in_with(email, totp(malformed)).await.assert_problem(401, "invalid_second_factor");
    }
    for _ in 0..4 {
        let wrong = totp(&authenticator.wrong_code(&app));
        app.log_in_with(email, wrong).await.assert_problem(401, "invalid_second_factor");
    }
    app.advance(60);
    app.log_in_with(email, totp(&authenticator.code(&app))).await.assert_status(200);
    assert_eq!(app.messages_to(email).await.len(), 0, "four wrong codes, and a right one");
    let wrong = totp(&authenticator.wrong_code(&app));
    app.log_in_with(email, wrong).await.assert_problem(401, "invalid_second_factor");
    let warning = app.message_to(email).await;
    assert!(warning.subject.contains("Somebody knows your password"), "{warning:?}");
}

#[tokio::test]
async fn a_right_code_gives_its_own_guess_back_and_no_other() {
    let app = with_mail_and(|_| {}).await;
    let ada = app.enrolled().await;
    let email = &ada.user.email;
    let tokens = vec![app.factor_token(email).await];
    let wrong = ada.authenticator.wrong_code(&app);
    assert_eq!(guess(&app, &tokens, &wrong, 0, 10).await.compared, 10);
    for _ in 0..15 {
        let code = totp(&ada.authenticator.code(&app));
        app.log_in_with(email, code).await.assert_status(200);
        app.advance(30);
    }
    let tokens = vec![app.factor_token(email).await];
    let wrong = ada.authenticator.wrong_code(&app);
    assert_eq!(guess(&app, &tokens, &wrong, 0, 15).await, Seen { compared: 10, refused: 5 });
}

#[tokio::test]
async fn a_change_of_the_password_clears_no_count() {
    let app = with_mail_and(|_| {}).await;
    let ada = app.enrolled().await;
    let tokens = vec![app.factor_token(&ada.user.email).await];
    let wrong = ada.authenticator.wrong_code(&app);
    assert_eq!(guess(&app, &tokens, &wrong, 0, 30).await.compared, LIMIT);
    app.clear_outbox().await;
    app.forgot(&ada.user.email).await;
    let link = app.message_to(&ada.user.email).await.token();
    let reset = app.reset_by_link(&link, "nine herons borrow umbrellas").await;
    let reset = reset.assert_problem(401, "second_factor_required");
    let token = reset.body["factor_token"].as_str().unwrap();
    let right = totp(&ada.authenticator.code(&app));
    let refused = app.log_in_factor(token, &right).await;
    refused.assert_problem(429, "too_many_failed_logins");
    let code = recovery_code(&ada.recovery_codes[0]);
    app.log_in_factor(token, &code).await.assert_status(200);
}

#[tokio::test]
async fn a_right_password_gives_nothing_back_while_the_code_is_missing() {
    let app = with_mail_and(|config: &mut Config| {
        config.limits.failed_logins_per_address = 5;
    })
    .await;
    let ada = app.enrolled().await;
    let from = async |network: &str, password: &str| {
        let body = serde_json::json!({ "email": ada.user.email, "password": password });
        app.post("/login").header("x-forwarded-for", network).json(&body).send().await
    };
    let mut tokens = Vec::new();
    for _ in 0..5 {
        let asked = from("203.0.113.1", PASSWORD).await;
        let asked = asked.assert_problem(401, "second_factor_required");
        tokens.push(asked.body["factor_token"].as_str().unwrap().to_owned());
    }
    from("203.0.113.1", PASSWORD).await.assert_problem(429, "too_many_failed_logins");
    // The login that is completed gives its own attempt back, once.
    let code = totp(&ada.authenticator.code(&app));
    app.log_in_factor_from("203.0.113.1", &tokens[0], &code).await.assert_status(200);
    from("203.0.113.1", PASSWORD).await.assert_problem(401, "second_factor_required");
    from("203.0.113.1", PASSWORD).await.assert_problem(429, "too_many_failed_logins");
}
