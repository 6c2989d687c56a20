//! Spellings of one address, and accounts with former keys.

use diesel::prelude::*;
use doorward::database::schema::users;
use serde_json::json;

use super::{NEW_PASSWORD, OTHER_PASSWORD};
use crate::support::mailbox::{with_mail, with_mail_and};
use crate::support::{PASSWORD, TestApp, until};

const COMPOSED: &str = "ren\u{e9}@example.com";
const UNICODE_DOMAIN: &str = "ada@b\u{fc}cher.example";
const DECOMPOSED: &str = "rene\u{301}@example.com";

/// Stores an account under the former key of another spelling.
async fn store_former(app: &TestApp, email: &str, as_of: &str) {
    let (email, former) = (email.to_owned(), as_of.to_ascii_lowercase());
    let own = as_of.to_owned();
    let stored = app.db().write(move |tx| {
        diesel::update(users::table.filter(users::email.eq(&email)))
            .set((users::email_key.eq(&former), users::email.eq(&own)))
            .execute(tx.connection())
    });
    assert_eq!(stored.await.unwrap(), 1);
}

async fn key_of(app: &TestApp, email: &str) -> String {
    let email = email.to_owned();
    let key = app.db().read(move |c| {
        users::table.filter(users::email.eq(&email)).select(users::email_key).get_result(c)
    });
    key.await.unwrap()
}

fn said(app: &TestApp, arguments: &[&str]) -> (bool, String) {
    let output = app.command(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn canonical_equivalents_are_one_account_and_look_alikes_are_two() {
    let app = TestApp::start().await;
    app.register(COMPOSED, PASSWORD).await.assert_status(201);
    app.register(DECOMPOSED, PASSWORD).await.assert_problem(409, "email_taken");
    app.log_in(DECOMPOSED, PASSWORD).await.assert_status(200);
    app.register(UNICODE_DOMAIN, PASSWORD).await.assert_status(201);
    for same in ["ada@xn--bcher-kva.example", "Ada@BU\u{308}CHER.example"] {
        app.register(same, PASSWORD).await.assert_problem(409, "email_taken");
        app.log_in(same, PASSWORD).await.assert_status(200);
    }
    app.register("rene@example.com", PASSWORD).await.assert_status(201);
    app.register("r\u{435}n\u{e9}@example.com", PASSWORD).await.assert_status(201);
    // A message that IDNA would make another sign of.
    for odd in ["ada@ex\u{ff20}mple.com", "ada@ex\u{2100}.com", "ada@\u{3002}com"] {
        let refused = app.register(odd, PASSWORD).await;
        assert!(matches!(refused.status, 201 | 422), "{odd}: {}", refused.text);
    }
}

#[tokio::test]
async fn an_account_with_a_former_key_is_found_by_either_and_rewritten() {
    let app = with_mail().await;
    app.register(COMPOSED, PASSWORD).await.assert_status(201);
    store_former(&app, COMPOSED, DECOMPOSED).await;
    app.register(DECOMPOSED, PASSWORD).await.assert_problem(409, "email_taken");
    app.log_in(DECOMPOSED, PASSWORD).await.assert_status(200);
    assert_eq!(key_of(&app, DECOMPOSED).await, DECOMPOSED);
    let (is_good, text) = said(&app, &["db", "check"]);
    assert!(!is_good && text.contains("--email-keys"), "{text}");

    let app = app.restart().await;
    if app.is_on_postgres() {
        assert_eq!(key_of(&app, DECOMPOSED).await, DECOMPOSED, "older nodes may be running");
        let (is_good, text) = said(&app, &["db", "migrate", "--email-keys"]);
        assert!(is_good && text.contains("rewritten: 1."), "{text}");
    }
    until(async || key_of(&app, DECOMPOSED).await == COMPOSED).await;
    let (is_good, text) = said(&app, &["db", "check"]);
    assert!(is_good, "{text}");
    for spelling in [COMPOSED, DECOMPOSED] {
        app.log_in(spelling, PASSWORD).await.assert_status(200);
    }
    app.forgot(COMPOSED).await;
    assert_eq!(app.messages().await.len(), 1);
}

#[tokio::test]
async fn of_two_accounts_with_one_address_the_second_is_found_by_its_own_spelling() {
    let other = OTHER_PASSWORD;
    let app = with_mail_and(|_| {}).await;
    app.register(COMPOSED, PASSWORD).await.assert_status(201);
    app.register("second@example.com", other).await.assert_status(201);
    store_former(&app, "second@example.com", DECOMPOSED).await;
    // A later one, which is rewritten after it.
    app.register(UNICODE_DOMAIN, PASSWORD).await.assert_status(201);
    store_former(&app, UNICODE_DOMAIN, UNICODE_DOMAIN).await;
    let app = app.restart().await;
    if app.is_on_postgres() {
        said(&app, &["db", "migrate", "--email-keys"]);
    }
    until(async || key_of(&app, UNICODE_DOMAIN).await.is_ascii()).await;
    assert_eq!(key_of(&app, DECOMPOSED).await, DECOMPOSED, "nothing is merged");
    app.log_in(COMPOSED, PASSWORD).await.assert_status(200);
    app.log_in(DECOMPOSED, other).await.assert_status(200);
    app.log_in(DECOMPOSED, PASSWORD).await.assert_problem(401, "invalid_credentials");
    let (is_good, text) = said(&app, &["db", "check"]);
    assert!(!is_good && text.contains("set-email"), "{text}");

    let id = {
        let found = app.db().read(|c| {
            let second = users::table.filter(users::email.eq(DECOMPOSED));
            second.select(users::id).get_result::<doorward::database::Id>(c)
        });
        found.await.unwrap().to_string()
    };
    let (is_good, text) = said(&app, &["user", "set-email", &id, COMPOSED]);
    assert!(!is_good && text.contains("already"), "{text}");
    let (is_good, text) = said(&app, &["user", "set-email", &id, "rene2@example.com"]);
    assert!(is_good, "{text}");
    app.log_in("rene2@example.com", other).await.assert_status(200);
    let (is_good, text) = said(&app, &["db", "check"]);
    assert!(is_good, "{text}");
}

#[tokio::test]
async fn an_operator_restores_an_address_and_ends_every_session() {
    let app = with_mail().await;
    let mut user = app.signed_up().await;
    app.forgot(&user.email).await;
    let link = app.message_to(&user.email).await.token();
    let (is_good, text) = said(&app, &["user", "set-email", &user.email, "ada@example.org"]);
    assert!(is_good, "{text}");
    app.advance(2);
    until(async || user.me().await.status == 401).await;
    user.refresh().await.assert_ended("email_changed");
    let tokens = app.log_in("ada@example.org", PASSWORD).await.tokens();
    assert_eq!(app.me(&tokens.access).await.body["email_verified"], false);
    app.reset_by_link(&link, NEW_PASSWORD).await.assert_problem(400, "invalid_link");
    let body = json!({ "email": user.email, "password": PASSWORD });
    app.post("/login").json(&body).send().await.assert_problem(401, "invalid_credentials");
}
