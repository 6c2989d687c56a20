//! Registrations: addresses and passwords.

use diesel::prelude::*;
use doorward::database::schema::users;
use serde_json::json;

use crate::support::app::CROWD;
use crate::support::{PASSWORD, TestApp};

use super::{NEW_PASSWORD, assert_invalid};

#[tokio::test]
async fn a_registration_returns_only_the_account() {
    let app = TestApp::start().await;
    let answer = app.register("  Ada@Example.com ", PASSWORD).await.assert_status(201);
    let members: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["created_at", "email", "id"]);
    assert_eq!(answer.body["email"], "Ada@Example.com");
    assert_eq!(answer.body["created_at"], app.moment(0));

    let tokens = app.log_in("ada@example.com", PASSWORD).await.tokens();
    let me = app.me(&tokens.access).await.assert_status(200);
    assert_eq!(me.body["id"], answer.body["id"]);
    assert_eq!(me.body["email"], "Ada@Example.com");
    assert_eq!(me.body["roles"], json!([]));
    assert_eq!(me.body["password_changed_at"], answer.body["created_at"]);
}

#[tokio::test]
async fn malformed_addresses_create_no_account() {
    let app = TestApp::start().await;
    let too_long = format!("{}@example.com", "a".repeat(65));
    for email in [
        "",
        "   ",
        "ada",
        "@example.com",
        "ada@",
        "ada@-example.com",
        "ada@example..com",
        "ada lovelace@example.com",
        "ada@example.com\r\nBcc: eve@example.com",
        "<ada@example.com>",
        "ada@exam\u{200b}ple.com",
        "ada\u{202e}@example.com",
        &too_long,
    ] {
        let answer = app.register(email, PASSWORD).await;
        assert_invalid(answer, "/email");
    }
    assert_eq!(count_users(&app).await, 0);
}

#[tokio::test]
async fn a_registered_address_is_rejected_in_every_form() {
    let app = TestApp::start().await;
    app.register("ada@example.com", PASSWORD).await.assert_status(201);
    for email in ["ada@example.com", "ADA@EXAMPLE.COM", " Ada@example.Com\t"] {
        app.register(email, NEW_PASSWORD).await.assert_problem(409, "email_taken");
    }
    app.log_in("ada@example.com", NEW_PASSWORD).await.assert_problem(401, "invalid_credentials");
    app.log_in("ada@example.com", PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn one_of_many_parallel_registrations_of_an_address_gets_it() {
    let app = TestApp::with(|config| config.database.pool_size = CROWD).await;
    let answers = futures_util::future::join_all(
        (0..10).map(|n| app.register(["ada@example.com", "Ada@example.com"][n % 2], PASSWORD)),
    )
    .await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1);
    assert!(answers.iter().all(|a| a.status == 201 || a.body["code"] == "email_taken"));
}

#[tokio::test]
async fn look_alike_letters_belong_to_another_account() {
    let app = TestApp::start().await;
    // The second of each pair: Cyrillic a, dotless i, Cyrillic ka, a full-width a.
    for (email, look_alike) in [
        ("ada@example.com", "\u{430}da@example.com"),
        ("ivy@example.com", "\u{131}vy@example.com"),
        ("kim@example.com", "\u{43a}im@example.com"),
        ("amy@example.com", "\u{ff41}my@example.com"),
    ] {
        let account = app.register(email, PASSWORD).await.assert_status(201);
        let other = app.register(look_alike, NEW_PASSWORD).await.assert_status(201);
        assert_ne!(account.body["id"], other.body["id"]);
        app.log_in(email, PASSWORD).await.assert_status(200);
        app.log_in(look_alike, NEW_PASSWORD).await.assert_status(200);
        app.log_in(email, NEW_PASSWORD).await.assert_status(401);
        app.log_in(look_alike, PASSWORD).await.assert_status(401);
    }
}

#[tokio::test]
async fn a_password_that_could_be_guessed_is_refused_with_advice() {
    let app = TestApp::start().await;
    for (password, advice) in [
        ("", "at least 15 characters"),
        // 14 code points, though 28 bytes.
        (
            "\u{e4}\u{f6}\u{fc}\u{df}\u{e9}\u{e8}\u{ea}\u{e1}\u{e0}\u{e2}\u{f3}\u{f2}\u{f4}\u{f1}",
            "at least 15 characters",
        ),
        // 15 code points as typed, 14 as composed.
        ("vk3 Pq8 zTw 1e\u{301}", "at least 15 characters"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "do not belong together"),
        ("passwordpassword1", "do not belong together"),
        ("qwertyuiopasdfghjkl", "do not belong together"),
        ("wilhelmina.kowalczyk@posteo.example", "neither in your e-mail address"),
    ] {
        let answer = app.register("wilhelmina.kowalczyk@posteo.example", password).await;
        let answer = assert_invalid(answer, "/password");
        assert!(
            answer.body["errors"][0]["detail"].as_str().unwrap().contains(advice),
            "{answer:?}"
        );
        assert!(password.is_empty() || !answer.text.contains(password), "{answer:?}");
    }
    let too_long = "seven otters juggle lanterns ".repeat(36);
    let answer = assert_invalid(app.register("a@example.com", &too_long).await, "/password");
    assert!(answer.text.contains("1024 bytes"), "{answer:?}");
    assert_eq!(count_users(&app).await, 0);
}

#[tokio::test]
async fn every_byte_of_the_longest_password_is_significant() {
    let app = TestApp::start().await;
    let mut password = "seven otters juggle lanterns ".repeat(36);
    password.truncate(1024);
    app.register("ada@example.com", &password).await.assert_status(201);
    app.log_in("ada@example.com", &password).await.assert_status(200);
    for wrong in [&password[..1023], &format!("{}X", &password[..1023]), &format!("{password} ")] {
        app.log_in("ada@example.com", wrong).await.assert_problem(401, "invalid_credentials");
    }
    for wrong in [format!(" {PASSWORD}"), format!("{PASSWORD} "), PASSWORD.to_uppercase()] {
        app.register("bob@example.com", PASSWORD).await;
        app.log_in("bob@example.com", &wrong).await.assert_problem(401, "invalid_credentials");
    }
}

#[tokio::test]
async fn composed_and_decomposed_forms_of_a_password_both_log_in() {
    let app = TestApp::start().await;
    let composed = "f\u{fc}nf \u{e9}l\u{e9}phants \u{1e69} bicycle";
    let decomposed = "fu\u{308}nf e\u{301}le\u{301}phants s\u{323}\u{307} bicycle";
    app.register("nfc@example.com", composed).await.assert_status(201);
    app.register("nfd@example.com", decomposed).await.assert_status(201);
    for email in ["nfc@example.com", "nfd@example.com"] {
        app.log_in(email, composed).await.assert_status(200);
        app.log_in(email, decomposed).await.assert_status(200);
        app.log_in(email, "funf elephants s bicycle").await.assert_status(401);
    }
}

#[tokio::test]
async fn roles_ids_and_flags_cannot_be_set_through_a_registration() {
    let app = TestApp::start().await;
    for (name, value) in [
        ("id", json!("019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75")),
        ("roles", json!(["admin"])),
        ("is_admin", json!(true)),
        ("disabled_at", json!(null)),
        ("created_at", json!("2020-01-01T00:00:00Z")),
        ("password_hash", json!("$argon2id$")),
        ("email_key", json!("eve@example.com")),
    ] {
        let body = json!({ "email": "ada@example.com", "password": PASSWORD, name: value });
        let answer = app.post("/register").json(&body).send().await;
        let answer = answer.assert_problem(400, "malformed_request");
        assert_eq!(answer.body["errors"][0]["pointer"], format!("/{name}"));
    }
    assert_eq!(count_users(&app).await, 0);
}

async fn count_users(app: &TestApp) -> i64 {
    app.db().read(|c| users::table.count().get_result(c)).await.unwrap()
}
