//! The blocklist: how long an id is kept, and how old ones are purged.

use std::time::Duration;

use diesel::prelude::*;
use doorward::database::{Database, DatabaseSettings, Id};
use doorward::revocations::{RevocationPolicy, Revocations, StalePolicy};
use doorward::tokens::Claims;
use serde_json::Value;

use crate::support::jwt::Jwt;
use crate::support::{TestApp, id, until};

use super::{count_blocklist, of_server};

#[tokio::test]
async fn revocations_of_another_process_on_the_same_data_apply_within_a_second() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    let (db, revocations) = another_process(&app).await;

    let jti: doorward::tokens::TokenId =
        serde_json::from_value(claims(&other.access)["jti"].clone()).unwrap();
    let (session, token) = (id(&user.tokens.session), Id::from(jti.uuid()));
    let now = app.clock.now();
    let revoked = db.write(move |tx| {
        revocations.revoke(tx, session, now)?;
        revocations.revoke(tx, token, now)?;
        revocations.announce(tx)
    });
    revoked.await.unwrap();
    let stored = app.clock.monotonic();
    until(async || user.me().await.status == 401).await;
    let took = app.clock.monotonic().duration_since(stored);
    assert!(took < Duration::from_secs(1), "{took:?}");
    user.me().await.assert_problem(401, "token_revoked");

    // One token of a session that continues.
    app.me(&other.access).await.assert_problem(401, "token_revoked");
    let next = app.refresh(&other.refresh).await.tokens();
    app.me(&next.access).await.assert_status(200);
}

#[tokio::test]
async fn a_revocation_is_kept_until_the_last_token_it_concerns_has_expired() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    user.log_out().await.assert_status(204);
    assert_eq!(count_blocklist(&app).await, 1);

    // A lifetime of ten minutes, 30 s of leeway, and a minute for a request already past its check.
    app.advance(600 + 30 + 60 - 1);
    assert!(!app.api.revocations.purge(app.clock.now()).await.unwrap());
    assert_eq!(count_blocklist(&app).await, 1);
    app.advance(1 + of_server(&app));
    assert!(!app.api.revocations.purge(app.clock.now()).await.unwrap());
    assert_eq!(count_blocklist(&app).await, 0);
    user.me().await.assert_problem(401, "token_expired");
    app.refresh(&user.tokens.refresh).await.assert_ended("logout");
}

#[tokio::test]
async fn tokens_issued_before_the_clock_was_set_back_stay_revoked() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (second, _third) = (user.another_session().await, user.another_session().await);
    let later = "UPDATE sessions SET last_seen_at = last_seen_at + 3600000000";
    let later = app.db().write(move |tx| diesel::sql_query(later).execute(tx.connection()));
    assert_eq!(later.await.unwrap(), 3);
    user.log_out().await.assert_status(204);
    app.post("/logout?scope=all").bearer(&second.access).send().await.assert_status(204);
    app.advance(3600 + 600 + 30 + 60 - 1);
    app.api.revocations.purge(app.clock.now()).await.unwrap();
    assert_eq!(count_blocklist(&app).await, 3);
    app.advance(1);
    app.api.revocations.purge(app.clock.now()).await.unwrap();
    assert_eq!(count_blocklist(&app).await, 0);
}

#[tokio::test]
async fn a_long_blocklist_is_purged_in_batches() {
    let app = TestApp::start().await;
    let revocations = app.api.revocations.clone();
    let now = app.clock.now();
    let revoked = app.db().write(move |tx| {
        let ids = (0..250).map(|_| (uuid::Uuid::new_v4().into(), now));
        revocations.revoke_all(tx, ids, now)
    });
    revoked.await.unwrap();
    app.advance(690 + of_server(&app));
    let mut left = Vec::new();
    while app.api.revocations.purge(app.clock.now()).await.unwrap() {
        left.push(count_blocklist(&app).await);
    }
    assert_eq!(left, [150, 50]);
    assert_eq!(count_blocklist(&app).await, 0);
}

#[tokio::test]
async fn a_shorter_lifetime_makes_no_revoked_token_valid_again() {
    let app = TestApp::with(|config| config.tokens.lifetime = Duration::from_secs(3600)).await;
    let tokens = app.signed_up().await.tokens;
    let app = app.restart_with(|config| config.tokens.lifetime = Duration::from_secs(600)).await;
    app.me(&tokens.access).await.assert_status(200);
    app.post("/logout").bearer(&tokens.access).send().await.assert_status(204);
    app.me(&tokens.access).await.assert_problem(401, "token_revoked");
    app.advance(700);
    app.api.revocations.purge(app.clock.now()).await.unwrap();
    app.me(&tokens.access).await.assert_status(401);
    let app = app.restart().await;
    app.me(&tokens.access).await.assert_status(401);
}

/// The blocklist of a second process that has opened the same file.
async fn another_process(app: &TestApp) -> (Database, Revocations) {
    let settings = DatabaseSettings {
        url: app.config.database().unwrap(),
        pool_size: 1,
        statement_timeout: Duration::from_secs(3),
        migrate: false,
    };
    let db = Database::open(&settings).unwrap();
    let policy = RevocationPolicy {
        max_token_age: Duration::from_secs(630),
        max_staleness: Duration::from_secs(30),
        when_stale: StalePolicy::FailClosed,
        max_clock_skew: Duration::from_secs(30),
        max_entries: 1000,
    };
    let revocations = Revocations::load(db.clone(), app.clock.clone(), policy).await.unwrap();
    (db, revocations)
}

fn claims(access: &str) -> Value {
    let claims = Jwt::read(access).claims();
    serde_json::from_value::<Claims>(claims.clone()).expect("claims and nothing else");
    claims
}
