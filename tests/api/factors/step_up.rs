//! Step-up: `auth_time` and `amr`, and the ways in which services require a recent login.

use std::time::Duration;

use diesel::prelude::*;
use doorward::config::Config;
use doorward::database::Id;
use doorward::database::schema::sessions;
use doorward_verifier::VerifyError;
use serde_json::json;
use uuid::Uuid;

use crate::support::feed::verifier;
use crate::support::totp::{recovery_code, totp};
use crate::support::{Answer, TestApp, claims};

async fn verify(app: &TestApp, token: &str, max_age: u64) -> Answer {
    app.get(&format!("/verify?max_age={max_age}")).bearer(token).send().await
}

#[tokio::test]
async fn a_refresh_copies_the_authentication_and_does_not_move_it() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let mut tokens = ada.log_in().await;
    let first = claims(&tokens.access);
    assert_eq!(first["auth_time"], app.clock.now().unix_seconds());
    for _ in 0..3 {
        app.advance(400);
        tokens = app.refresh(&tokens.refresh).await.tokens();
        let again = claims(&tokens.access);
        assert_eq!((&again["auth_time"], &again["amr"]), (&first["auth_time"], &first["amr"]));
    }
}

#[tokio::test]
async fn verify_and_introspection_say_when_and_how_the_user_was_authenticated() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let tokens = ada.log_in().await;
    let service = app.service(&[]).await;
    for token in [&tokens.access, &tokens.refresh] {
        let seen = app.introspect(&service, token).await.assert_status(200).body;
        assert_eq!(seen["auth_time"], app.clock.now().unix_seconds());
        assert_eq!(seen["amr"], json!(["pwd", "otp", "mfa"]));
        assert_eq!(seen.get("acr"), None);
    }
    app.advance(300);
    verify(&app, &tokens.access, 300).await.assert_status(200);
    app.advance(1);
    // The signature was verified before; its age is checked for each request.
    let refused = verify(&app, &tokens.access, 300).await;
    let refused = refused.assert_problem(401, "insufficient_user_authentication");
    assert_eq!(refused.body["max_age"], 300);
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains(r#"error="insufficient_user_authentication""#), "{challenge}");
    assert!(challenge.ends_with(r#", max_age="300""#), "{challenge}");
    verify(&app, &tokens.access, 301).await.assert_status(200);
    app.get("/verify").bearer(&tokens.access).send().await.assert_status(200);
    for odd in ["max_age=soon", "max-age=300", "MAX_AGE=300", "maxAge=300"] {
        let odd = app.get(&format!("/verify?{odd}")).bearer(&tokens.access).send().await;
        odd.assert_problem(400, "malformed_request");
    }

    let code = totp(&ada.authenticator.code_in(&app, 1));
    let proven = app.reauthenticate(&tokens.access, Some(code)).await.assert_status(200);
    let fresh = proven.body["access_token"].as_str().unwrap();
    verify(&app, fresh, 0).await.assert_status(200);
    assert_eq!(claims(fresh)["sid"], claims(&tokens.access)["sid"]);
    // The refresh token stays, and its successors say the same.
    let after = app.refresh(&tokens.refresh).await.tokens();
    assert_eq!(after.generation, 1);
    assert_eq!(claims(&after.access)["auth_time"], claims(fresh)["auth_time"]);
}

#[tokio::test]
async fn a_token_without_auth_time_satisfies_no_max_age() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    assert_eq!(claims(&user.tokens.access).get("auth_time"), None);
    let refused = verify(&app, &user.tokens.access, u32::MAX.into()).await;
    refused.assert_problem(401, "insufficient_user_authentication");
    // The password is a proof, too, and the time of a manual clock need not move for it.
    let proven = app.reauthenticate(&user.tokens.access, None).await.assert_status(200);
    let fresh = proven.body["access_token"].as_str().unwrap();
    assert_eq!(claims(fresh)["amr"], json!(["pwd"]));
    verify(&app, fresh, 0).await.assert_status(200);
    let again = app.refresh(&user.tokens.refresh).await.tokens();
    assert_eq!(claims(&again.access)["auth_time"], claims(fresh)["auth_time"]);
    let wrong = json!({ "password": "wrong" });
    let wrong = app.post("/me/reauthenticate").bearer(fresh).json(&wrong).send().await;
    let wrong = wrong.assert_problem(403, "wrong_password");
    assert_eq!(wrong.body["errors"][0]["pointer"], "/password");
}

#[tokio::test]
async fn with_auth_claims_every_token_has_them() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let before = user.tokens.refresh.clone();
    let app = app.restart_with(|config: &mut Config| config.tokens.auth_claims = true).await;
    let tokens = app.refresh(&before).await.tokens();
    assert_eq!(claims(&tokens.access)["amr"], json!(["pwd"]));
    verify(&app, &tokens.access, 1).await.assert_status(200);
}

#[tokio::test]
async fn tokens_are_short_with_the_claims_and_without() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let plain = ada.user.tokens.access.len();
    let full = ada.log_in().await.access.len();
    println!("bytes of an access token: {plain}, with auth_time and amr {full}");
    assert!(plain < 450, "{plain}");
    assert!(full < 512, "{full}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_verifies_itself_requires_a_recent_login() {
    let app = TestApp::with(|config| config.public_url = String::new()).await;
    let ada = app.enrolled().await;
    let tokens = ada.log_in().await;
    let all = verifier(&app).await;
    let recent = all.max_auth_age(Duration::from_secs(300));
    let old = ada.user.tokens.access.clone();
    assert!(all.verify_or_refetch(&old).await.is_ok());
    let too_old = VerifyError::InsufficientAuthentication { max_age: Duration::from_secs(300) };
    assert_eq!(recent.verify(&old), Err(too_old));
    let said = recent.verify_or_refetch(&tokens.access).await.unwrap();
    assert_eq!((said.auth_time, said.amr.len()), (Some(app.clock.now().unix_seconds()), 3));
}

#[tokio::test]
async fn a_session_that_has_ended_meanwhile_uses_up_no_code() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let ended = ada.log_in().await;
    app.advance(60);
    let other = ada.log_in().await;
    // As on a node that has not heard of it yet.
    let session = Uuid::parse_str(claims(&ended.access)["sid"].as_str().unwrap()).unwrap();
    let revoked = app.db().write(move |tx| {
        diesel::update(sessions::table.find(Id::from(session)))
            .set(sessions::revoked_at.eq(1_i64))
            .execute(tx.connection())
    });
    assert_eq!(revoked.await.unwrap(), 1);
    let code = recovery_code(&ada.recovery_codes[0]);
    let refused = app.reauthenticate(&ended.access, Some(code)).await;
    refused.assert_problem(503, "unavailable");
    assert_eq!(app.me(&other.access).await.body["recovery_codes_left"], 10);
}
