//! Setting up, replacing and removing an authenticator app.

use diesel::prelude::*;
use doorward::config::{Config, RequireSecondFactor};
use doorward::database::schema::users;
use doorward::secret::{MasterSecret, Secret};
use serde_json::json;

use crate::support::binary::printed;
use crate::support::mailbox::{with_mail, with_mail_and};
use crate::support::totp::{Authenticator, codes_of, recovery_code, totp};
use crate::support::{PASSWORD, TestApp, claims, id};

#[tokio::test]
async fn an_app_is_a_factor_once_a_code_confirms_it() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let access = &user.tokens.access;
    let me = user.me().await;
    assert_eq!((&me.body["factors"], &me.body["recovery_codes_left"]), (&json!([]), &json!(0)));
    app.begin_totp(access, "wrong", None).await.assert_problem(403, "wrong_password");
    let begun = app.begin_totp(access, PASSWORD, None).await.assert_status(200);
    let authenticator = Authenticator::scan(&begun);
    let uri = begun.body["otpauth_uri"].as_str().unwrap();
    assert!(uri.starts_with("otpauth://totp/doorward.test:user"), "{uri}");
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
    let wrong = app.confirm_totp(access, &authenticator.wrong_code(&app)).await;
    let wrong = wrong.assert_problem(422, "invalid_fields");
    assert_eq!(wrong.body["errors"][0]["pointer"], "/code");
    let confirmed = app.confirm_totp(access, &authenticator.code(&app)).await.assert_status(200);
    assert_eq!(codes_of(&confirmed).len(), 10);
    let me = user.me().await;
    assert_eq!(me.body["factors"], json!(["totp"]));
    assert_eq!(me.body["recovery_codes_left"], 10);
    app.log_in(&user.email, PASSWORD).await.assert_problem(401, "second_factor_required");
    let again = app.confirm_totp(access, &authenticator.code_in(&app, 1)).await;
    again.assert_problem(422, "invalid_fields");
}

#[tokio::test]
async fn a_pending_secret_belongs_to_its_session_its_password_and_ten_minutes() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    let begun = app.begin_totp(&user.tokens.access, PASSWORD, None).await;
    let authenticator = Authenticator::scan(&begun);
    let code = authenticator.code(&app);
    app.confirm_totp(&other.access, &code).await.assert_problem(422, "invalid_fields");
    let new = "nine herons borrow umbrellas";
    let tokens = user.change_password(PASSWORD, new).await.tokens();
    app.confirm_totp(&tokens.access, &code).await.assert_problem(422, "invalid_fields");

    let grace = app.signed_up().await;
    let begun = app.begin_totp(&grace.tokens.access, PASSWORD, None).await;
    let authenticator = Authenticator::scan(&begun);
    app.advance(600);
    let tokens = app.refresh(&grace.tokens.refresh).await.tokens();
    let late = app.confirm_totp(&tokens.access, &authenticator.code(&app)).await;
    late.assert_problem(422, "invalid_fields");
    app.log_in(&grace.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_confirmation_counts_as_a_proof_of_its_session_alone() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    app.enrol(&user.tokens.access).await;
    app.advance(60);
    let here = app.refresh(&user.tokens.refresh).await.tokens();
    let there = app.refresh(&other.refresh).await.tokens();
    assert_eq!(claims(&here.access)["amr"], json!(["pwd", "otp", "mfa"]));
    assert_eq!(claims(&there.access).get("amr"), None);
    app.remove_totp(&there.access, None).await.assert_problem(403, "factor_proof_required");
    app.remove_totp(&here.access, None).await.assert_status(204);
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn recovery_codes_and_the_app_are_replaced_and_removed_with_a_proof() {
    let app = with_mail().await;
    let ada = app.enrolled().await;
    app.clear_outbox().await;
    let code = |steps| totp(&ada.authenticator.code_in(&app, steps));
    let access = &ada.user.tokens.access;
    let renewed = app.new_recovery_codes(access, Some(code(0))).await.assert_status(200);
    let renewed = codes_of(&renewed);
    let old = app.log_in_with(&ada.user.email, recovery_code(&ada.recovery_codes[0])).await;
    old.assert_problem(401, "invalid_second_factor");
    let by_code = Some(recovery_code(&renewed[0]));
    let begun = app.begin_totp(access, PASSWORD, by_code).await.assert_status(200);
    let new = Authenticator::scan(&begun);
    // The old app stays the factor until the new one is confirmed.
    app.log_in_with(&ada.user.email, code(1)).await.assert_status(200);
    app.confirm_totp(access, &new.code(&app)).await.assert_status(200);
    app.advance(60);
    app.log_in_with(&ada.user.email, code(0)).await.assert_problem(401, "invalid_second_factor");
    app.log_in_with(&ada.user.email, totp(&new.code(&app))).await.assert_status(200);
    app.remove_totp(access, Some(totp(&new.code_in(&app, 1)))).await.assert_status(204);
    app.remove_totp(access, None).await.assert_problem(404, "not_found");
    app.new_recovery_codes(access, None).await.assert_problem(404, "not_found");
    app.log_in(&ada.user.email, PASSWORD).await.assert_status(200);
    let subjects: Vec<String> =
        app.messages_to(&ada.user.email).await.into_iter().map(|mail| mail.subject).collect();
    for about in ["New recovery codes", "A recovery code", "was set up", "was removed"] {
        assert!(subjects.iter().any(|subject| subject.contains(about)), "{about}: {subjects:?}");
    }
}

#[tokio::test]
async fn the_database_holds_no_secret_and_no_code() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let begun = app.begin_totp(&user.tokens.access, PASSWORD, None).await;
    let authenticator = Authenticator::scan(&begun);
    let code = authenticator.code(&app);
    let confirmed = app.confirm_totp(&user.tokens.access, &code).await.assert_status(200);
    let stored = app.db().read(|c| {
        let columns = (users::totp_secret, users::recovery_codes);
        users::table
            .filter(users::totp_secret.is_not_null())
            .select(columns)
            .get_result::<(Option<Vec<u8>>, Option<Vec<u8>>)>(c)
    });
    let (Some(sealed), Some(digests)) = stored.await.unwrap() else { panic!("both are stored") };
    // A nonce, 20 bytes and a tag.
    assert_eq!((sealed.len(), digests.len()), (12 + 20 + 16, 10 * 32));
    for code in codes_of(&confirmed) {
        let plain = code.replace('-', "");
        assert!(!digests.windows(plain.len()).any(|part| part == plain.as_bytes()));
    }
}

#[tokio::test]
async fn a_closed_account_leaves_no_secret_behind() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let tokens = ada.log_in().await;
    let body = json!({ "password": PASSWORD });
    let closed = app.post("/me/close").bearer(&tokens.access).json(&body).send().await;
    closed.assert_status(204);
    let user = id(&ada.user.id);
    let left = app.db().read(move |c| {
        let columns = (users::totp_secret, users::recovery_codes);
        let row = users::table.find(user).select(columns);
        row.get_result::<(Option<Vec<u8>>, Option<Vec<u8>>)>(c)
    });
    assert_eq!(left.await.unwrap(), (None, None));
}

#[tokio::test]
async fn factors_survive_a_change_of_the_master_secret() {
    let first = MasterSecret::generate().to_text().to_string();
    let second = MasterSecret::generate().to_text().to_string();
    let secret = |text: &str| Some(Secret::new(text.to_owned()));
    let app = TestApp::with(|config: &mut Config| config.secret = secret(&first)).await;
    let ada = app.enrolled().await;
    let (email, authenticator) = (ada.user.email.clone(), ada.authenticator.clone());
    let token = app.factor_token(&email).await;
    let sealed = async |app: &TestApp| {
        let column = app.db().read(|c| {
            let with = users::table.filter(users::totp_secret.is_not_null());
            with.select(users::totp_secret).get_result::<Option<Vec<u8>>>(c)
        });
        column.await.unwrap()
    };
    let before = sealed(&app).await;
    let change = |config: &mut Config| {
        config.secret = secret(&second);
        config.previous_secret = secret(&first);
    };
    let app = app.restart_with(change).await;
    let code = totp(&authenticator.code(&app));
    app.log_in_factor(&token, &code).await.assert_status(200);
    crate::support::until(async || sealed(&app).await != before).await;
    let app = app.restart_with(|config| config.previous_secret = None).await;
    app.advance(30);
    app.log_in_with(&email, totp(&authenticator.code(&app))).await.assert_status(200);
}

/// Otherwise a stranger who registers an address sets up a factor that its owner cannot pass.
#[tokio::test]
async fn an_unproven_address_has_no_second_factor_while_mail_is_on() {
    let app = with_mail_and(|config: &mut Config| {
        config.accounts.require_second_factor = RequireSecondFactor::Roles(vec!["admin".into()]);
    })
    .await;
    let stranger = app.signed_up().await;
    let access = &stranger.tokens.access;
    app.begin_totp(access, "wrong", None).await.assert_problem(403, "wrong_password");
    app.begin_totp(access, PASSWORD, None).await.assert_problem(403, "email_unverified");
    printed(&mut app.command(&["user", "roles", "set", &stranger.email, "admin"]));
    let refused = app.log_in(&stranger.email, PASSWORD).await;
    let refused = refused.assert_problem(403, "second_factor_setup_required");
    let enrol_token = refused.body["enrol_token"].as_str().unwrap();
    app.begin_totp(enrol_token, PASSWORD, None).await.assert_problem(403, "email_unverified");

    // The owner of the address resets the password, which proves it.
    printed(&mut app.command(&["user", "roles", "set", &stranger.email]));
    app.forgot(&stranger.email).await;
    let link = app.message_to(&stranger.email).await.token();
    let owner = app.reset_by_link(&link, "nine herons borrow umbrellas").await.tokens();
    let begun = app.begin_totp(&owner.access, "nine herons borrow umbrellas", None).await;
    begun.assert_status(200);
}
