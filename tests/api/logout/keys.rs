//! Sessions across new signing keys, algorithms and master secrets.

use std::time::Duration;

use doorward::secret::{MasterSecret, Secret};
use doorward::tokens::Algorithm;

use crate::support::jwt::Jwt;
use crate::support::{PASSWORD, TestApp};

use super::DAY;

#[tokio::test]
async fn a_new_signing_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_expire() {
    let app = TestApp::with(|config| config.tokens.key_lifetime = Duration::from_secs(DAY)).await;
    let mut user = app.signed_up().await;
    let old = kid(&user.tokens.access);
    let maintain = async |seconds: u64| {
        app.advance(seconds);
        app.api.keys.maintain().await.unwrap();
        let answer = app.get("/.well-known/jwks.json").send().await.assert_status(200);
        let kids: Vec<String> = answer.body["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect();
        (kids, answer.header("etag").unwrap().to_owned())
    };
    // The JWKS may be cached for ten minutes, and three are the margin for clocks and caches.
    let (kids, first_etag) = maintain(DAY - 780 - 1).await;
    assert_eq!(kids, [old.as_str()]);
    let (kids, etag) = maintain(1).await;
    assert_eq!(kids.len(), 2);
    assert_ne!(etag, first_etag);
    let new = kids.into_iter().find(|kid| *kid != old).unwrap();

    user.refresh().await.assert_status(200);
    assert_eq!(kid(&user.tokens.access), old, "published, but not signing");
    assert_eq!(maintain(779).await.0.len(), 2);
    user.refresh().await.assert_status(200);
    assert_eq!(kid(&user.tokens.access), old);
    let last_of_the_old = user.tokens.access.clone();

    let (kids, _) = maintain(1).await;
    assert!(kids.len() == 2 && kids.contains(&old) && kids.contains(&new));
    app.advance(31);
    user.refresh().await.assert_status(200);
    assert_eq!(kid(&user.tokens.access), new);
    app.me(&last_of_the_old).await.assert_status(200);
    user.me().await.assert_status(200);

    // Its last token has expired after ten minutes, and verifiers may tolerate 30 s more.
    let (kids, _) = maintain(600 - 1 - 31 - 1).await;
    assert_eq!(kids.len(), 2);
    app.me(&last_of_the_old).await.assert_status(200);
    let (kids, _) = maintain(810 - 600 + 2).await;
    assert_eq!(kids.len(), 2);
    app.me(&last_of_the_old).await.assert_problem(401, "token_expired");
    let (kids, _) = maintain(1).await;
    assert_eq!(kids, [new]);
    app.advance(31);
    user.refresh().await.assert_status(200);
    user.me().await.assert_status(200);
}

#[tokio::test]
async fn a_logout_revokes_tokens_of_both_keys() {
    let app = TestApp::with(|config| config.tokens.key_lifetime = Duration::from_secs(DAY)).await;
    let mut user = app.signed_up().await;
    app.advance(DAY - 780);
    app.api.keys.maintain().await.unwrap();
    app.advance(780);
    user.refresh().await.assert_status(200);
    let old = user.tokens.access.clone();
    app.api.keys.maintain().await.unwrap();
    app.advance(31);
    user.refresh().await.assert_status(200);
    assert_ne!(kid(&old), kid(&user.tokens.access));
    user.log_out().await.assert_status(204);
    let fresh = user.tokens.access.clone();
    app.me(&old).await.assert_problem(401, "token_revoked");
    app.me(&fresh).await.assert_problem(401, "token_revoked");
    let app = app.restart().await;
    app.me(&old).await.assert_problem(401, "token_revoked");
    app.me(&fresh).await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn another_algorithm_in_the_configuration_keeps_the_tokens_that_were_issued() {
    let app = TestApp::start().await;
    let tokens = app.signed_up().await.tokens;
    assert_eq!(Jwt::read(&tokens.access).header()["alg"], "ES256");
    let app = app.restart_with(|config| config.tokens.algorithm = Algorithm::EdDsa).await;
    app.me(&tokens.access).await.assert_status(200);
    let tokens = app.refresh(&tokens.refresh).await.tokens();
    assert_eq!(
        Jwt::read(&tokens.access).header()["alg"],
        "ES256",
        "until every cache has the new key"
    );

    app.advance(780);
    let late = app.refresh(&tokens.refresh).await.tokens();
    app.api.keys.maintain().await.unwrap();
    app.advance(31);
    let new = app.refresh(&late.refresh).await.tokens();
    assert_eq!(Jwt::read(&new.access).header()["alg"], "EdDSA");
    app.me(&late.access).await.assert_status(200);
    app.me(&new.access).await.assert_status(200);
    let app = app.restart().await;
    app.me(&late.access).await.assert_status(200);
    app.me(&new.access).await.assert_status(200);
}

#[tokio::test]
async fn a_change_of_the_master_secret_ends_no_session() {
    let app = TestApp::start().await;
    let (mut tokens, idle, email) = {
        let user = app.signed_up().await;
        (user.tokens.clone(), user.another_session().await, user.email.clone())
    };
    let lost_parent = tokens.refresh.clone();
    let lost = app.refresh(&lost_parent).await.tokens();
    let old = Secret::new(app.config.master_secret().unwrap().current.to_text().to_string());
    let new = Secret::new(MasterSecret::generate().to_text().to_string());

    let app = app
        .restart_with(|config| {
            config.secret = Some(new.clone());
            config.previous_secret = Some(old.clone());
        })
        .await;
    app.me(&tokens.access).await.assert_status(200);
    let again = app.refresh(&lost_parent).await.tokens();
    assert_eq!(again.generation, lost.generation, "a retry across the change");
    app.advance(31);
    tokens = app.refresh(&lost.refresh).await.tokens();
    assert_eq!(tokens.generation, 2);
    app.me(&tokens.access).await.assert_status(200);
    app.log_in(&email, PASSWORD).await.assert_status(200);
    let idle_access = app.refresh(&idle.refresh).await.tokens();

    let app = app.restart_with(|config| config.previous_secret = None).await;
    app.me(&tokens.access).await.assert_status(200);
    app.me(&idle_access.access).await.assert_status(200);
    app.advance(31);
    let next = app.refresh(&tokens.refresh).await.tokens();
    assert_eq!(next.generation, 3);
    app.refresh(&idle_access.refresh).await.assert_status(200);
    // The old secret is not valid any more, nor are tokens under it.
    app.refresh(&idle.refresh).await.assert_ended("unknown_token");
    app.me(&next.access).await.assert_status(200);
    app.log_in(&email, PASSWORD).await.assert_status(200);
}

fn kid(access: &str) -> String {
    Jwt::read(access).header()["kid"].as_str().unwrap().to_owned()
}
