//! Accounts: sign up, change the password, close.

use diesel::prelude::*;
use doorward::database::schema::{sessions, users};
use serde_json::json;

use crate::support::app::CROWD;
use crate::support::{Answer, PASSWORD, TestApp, id};

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";

#[tokio::test]
async fn a_registration_answers_the_account_and_no_more() {
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
async fn a_taken_address_is_taken_in_every_form() {
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
async fn look_alike_letters_make_another_account() {
    let app = TestApp::start().await;
    // The second of each pair: Cyrillic a, dotless i, the Kelvin sign, a full-width a.
    for (email, look_alike) in [
        ("ada@example.com", "\u{430}da@example.com"),
        ("ivy@example.com", "\u{131}vy@example.com"),
        ("kim@example.com", "\u{212a}im@example.com"),
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
async fn the_longest_password_counts_to_its_last_byte() {
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

#[tokio::test]
async fn a_profile_is_its_owners_and_shows_nothing_secret() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.signed_up().await, app.signed_up().await);
    set_roles(&app, &ada.id, "editor reviewer").await;
    let me = ada.me().await.assert_status(200);
    assert_eq!(me.body["id"], ada.id);
    assert_eq!(me.body["email"], ada.email);
    assert_eq!(me.body["roles"], json!(["editor", "reviewer"]));
    assert!(!me.text.contains("argon2"));
    assert_eq!(bob.me().await.assert_status(200).body["id"], bob.id);
    app.get("/me").send().await.assert_problem(401, "missing_token");
}

#[tokio::test]
async fn a_change_of_password_ends_every_session_at_once_and_answers_a_new_one() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let bystander = app.signed_up().await;
    let earlier_access = user.tokens.access.clone();
    user.refresh().await.assert_status(200);
    let other = user.another_session().await;

    app.advance(5);
    let new = user.change_password(PASSWORD, NEW_PASSWORD).await.tokens();

    for access in [&earlier_access, &user.tokens.access, &other.access] {
        app.me(access).await.assert_problem(401, "token_revoked");
    }
    for refresh in [&user.tokens.refresh, &other.refresh] {
        app.refresh(refresh).await.assert_ended("password_changed");
    }
    assert_eq!(new.generation, 0);
    let me = app.me(&new.access).await.assert_status(200);
    assert_eq!(me.body["password_changed_at"], app.moment(5));
    assert_eq!(me.body["created_at"], app.moment(0));
    assert_eq!(app.live_sessions(&user.id).await, [new.session.as_str()]);
    app.refresh(&new.refresh).await.assert_status(200);
    app.log_in(&user.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    app.log_in(&user.email, NEW_PASSWORD).await.assert_status(200);
    bystander.me().await.assert_status(200);

    let app = app.restart().await;
    for access in [&earlier_access, &other.access] {
        app.me(access).await.assert_problem(401, "token_revoked");
    }
    app.me(&new.access).await.assert_status(200);
}

#[tokio::test]
async fn a_wrong_present_password_changes_nothing() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let too_long = "x".repeat(1025);
    for wrong in ["", "not my password at all", NEW_PASSWORD, &too_long] {
        let answer = user.change_password(wrong, NEW_PASSWORD).await;
        let answer = answer.assert_problem(403, "wrong_password");
        assert_eq!(answer.body["errors"][0]["pointer"], "/current_password");
        // The client should not throw its token away.
        assert_eq!(answer.header("www-authenticate"), None);
    }
    user.me().await.assert_status(200);
    user.refresh().await.assert_status(200);
    app.log_in(&user.email, NEW_PASSWORD).await.assert_status(401);
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_weak_new_password_changes_nothing() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let too_long = "seven otters juggle lanterns ".repeat(36);
    for weak in ["short", "passwordpassword1", &user.email, &too_long] {
        assert_invalid(user.change_password(PASSWORD, weak).await, "/new_password");
    }
    user.me().await.assert_status(200);
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn one_of_many_parallel_changes_of_a_password_wins() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let passwords: Vec<String> = (0..4).map(|n| format!("{NEW_PASSWORD} {n}")).collect();
    let answers = futures_util::future::join_all(
        passwords.iter().map(|new| user.change_password(PASSWORD, new)),
    )
    .await;
    let won: Vec<usize> = (0..4).filter(|n| answers[*n].status == 200).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    for (n, answer) in answers.iter().enumerate() {
        if n == won[0] {
            assert_eq!(app.live_sessions(&user.id).await, [answer.clone().tokens().session]);
        } else {
            assert!(matches!(answer.status, 401 | 403), "{answer:?}");
        }
        let status = if n == won[0] { 200 } else { 401 };
        app.log_in(&user.email, &passwords[n]).await.assert_status(status);
    }
}

#[tokio::test]
async fn a_closed_account_is_gone_at_once() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let earlier_access = user.tokens.access.clone();
    user.refresh().await.assert_status(200);
    let other = user.another_session().await;
    user.close(PASSWORD).await.assert_status(204);

    let tokens = user.tokens.clone();
    let check = async |app: &TestApp| {
        for access in [&earlier_access, &tokens.access, &other.access] {
            app.me(access).await.assert_problem(401, "token_revoked");
        }
        for refresh in [&tokens.refresh, &other.refresh] {
            app.refresh(refresh).await.assert_ended("account_closed");
        }
    };
    check(&app).await;
    let email = user.email.clone();
    app.log_in(&email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    let app = app.restart().await;
    check(&app).await;
    app.log_in(&email, PASSWORD).await.assert_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_closed_accounts_address_is_free_again_and_reveals_no_old_data() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    user.close(PASSWORD).await.assert_status(204);
    let account = app.register(&user.email, NEW_PASSWORD).await.assert_status(201);
    assert_ne!(account.body["id"], user.id);
    app.log_in(&user.email, PASSWORD).await.assert_status(401);
    let tokens = app.log_in(&user.email, NEW_PASSWORD).await.tokens();
    let list = app.get("/sessions").bearer(&tokens.access).send().await.assert_status(200);
    assert_eq!(list.body["sessions"].as_array().unwrap().len(), 1);
    app.refresh(&user.tokens.refresh).await.assert_ended("account_closed");

    // Again and again: the row of each stays for a while, and none is in another's way.
    for _ in 0..2 {
        let tokens = app.log_in(&user.email, NEW_PASSWORD).await.tokens();
        let body = json!({ "password": NEW_PASSWORD });
        app.post("/me/close").bearer(&tokens.access).json(&body).send().await.assert_status(204);
        app.register(&user.email, NEW_PASSWORD).await.assert_status(201);
    }
}

#[tokio::test]
async fn closing_erases_personal_data() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let body = json!({ "email": user.email, "password": PASSWORD, "label": "Ada's phone" });
    app.post("/login").header("user-agent", "Ada/1.0").json(&body).send().await.tokens();
    user.close(PASSWORD).await.assert_status(204);

    let id = id(&user.id);
    let (account, devices) = app
        .db()
        .read(move |c| {
            let account: (String, String, String, String) = users::table
                .find(id)
                .select((users::email, users::email_key, users::password_hash, users::roles))
                .get_result(c)?;
            let devices: Vec<(Option<String>, Option<String>, Option<String>)> = sessions::table
                .filter(sessions::user_id.eq(id))
                .select((sessions::label, sessions::user_agent, sessions::address))
                .load(c)?;
            Ok((account, devices))
        })
        .await
        .unwrap();
    assert_eq!((account.0.as_str(), account.2.as_str(), account.3.as_str()), ("", "", ""));
    assert!(!account.1.contains(&user.email));
    assert_eq!(devices, [(None, None, None), (None, None, None)]);
}

#[tokio::test]
async fn a_wrong_password_closes_nothing() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let answer = user.close("not my password at all").await.assert_problem(403, "wrong_password");
    assert_eq!(answer.body["errors"][0]["pointer"], "/password");
    user.close(&"x".repeat(1025)).await.assert_problem(403, "wrong_password");
    user.me().await.assert_status(200);
    user.refresh().await.assert_status(200);
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn disabling_an_account_revokes_its_tokens_immediately() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let other = app.signed_up().await;
    assert!(app.api.accounts.disable(id(&user.id)).await.unwrap());
    assert!(!app.api.accounts.disable(id(&user.id)).await.unwrap(), "it is disabled already");
    user.me().await.assert_problem(401, "token_revoked");
    user.refresh().await.assert_ended("account_disabled");
    user.close(PASSWORD).await.assert_problem(401, "token_revoked");
    app.register(&user.email, PASSWORD).await.assert_problem(409, "email_taken");
    other.me().await.assert_status(200);
    let refresh = user.tokens.refresh.clone();
    let app = app.restart().await;
    app.refresh(&refresh).await.assert_ended("account_disabled");
}

#[tokio::test]
async fn a_good_login_brings_a_hash_of_another_cost_up_to_date() {
    let app = TestApp::start().await;
    let (id, email, session) = {
        let user = app.signed_up().await;
        (user.id.clone(), user.email.clone(), user.tokens.clone())
    };
    let before = password_hash(&app, &id).await;
    assert!(before.contains("m=256,t=2,p=1"), "{before}");

    let app = app.restart_with(|config| config.passwords.iterations = 3).await;
    app.log_in(&email, "not my password at all").await.assert_status(401);
    assert_eq!(password_hash(&app, &id).await, before, "only a good login upgrades");
    app.refresh(&session.refresh).await.assert_status(200);
    assert_eq!(password_hash(&app, &id).await, before);

    app.log_in(&email, PASSWORD).await.assert_status(200);
    let upgraded = password_hash(&app, &id).await;
    assert!(upgraded.contains("m=256,t=3,p=1"), "{upgraded}");
    app.log_in(&email, PASSWORD).await.assert_status(200);
    assert_eq!(password_hash(&app, &id).await, upgraded, "once is enough");
    app.log_in(&email, "not my password at all").await.assert_status(401);
    app.me(&session.access).await.assert_status(200);
    let me = app.me(&session.access).await;
    assert_eq!(me.body["password_changed_at"], me.body["created_at"], "it is the same password");
}

#[tokio::test]
async fn parallel_logins_that_bring_one_hash_up_to_date_all_succeed() {
    let app = TestApp::with(|config| config.database.pool_size = CROWD).await;
    let email = app.signed_up().await.email;
    let app = app.restart_with(|config| config.passwords.iterations = 1).await;
    let answers =
        futures_util::future::join_all((0..6).map(|_| app.log_in(&email, PASSWORD))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
}

#[track_caller]
fn assert_invalid(answer: Answer, pointer: &str) -> Answer {
    let answer = answer.assert_problem(422, "invalid_fields");
    assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{}", answer.text);
    answer
}

async fn count_users(app: &TestApp) -> i64 {
    app.db().read(|c| users::table.count().get_result(c)).await.unwrap()
}

async fn password_hash(app: &TestApp, user: &str) -> String {
    let id = id(user);
    let hash = app
        .db()
        .read(move |c| users::table.find(id).select(users::password_hash).get_result(c))
        .await;
    hash.unwrap()
}

async fn set_roles(app: &TestApp, user: &str, roles: &'static str) {
    let id = id(user);
    let changed = app.db().write(move |tx| {
        diesel::update(users::table.find(id)).set(users::roles.eq(roles)).execute(tx.connection())
    });
    assert_eq!(changed.await.unwrap(), 1);
}
