//! The cost of a second factor.

use std::sync::atomic::{AtomicU64, Ordering};

use diesel::prelude::*;
use doorward::database::schema::users;

use crate::support::totp::totp;
use crate::support::{PASSWORD, TestApp, id};

/// Statements and hashes since the start.
fn counts(app: &TestApp) -> (u64, u64) {
    (app.db().load().statements, app.hashed())
}

#[tokio::test]
async fn a_login_with_a_code_costs_one_hash_and_one_more_write() {
    let app = TestApp::start().await;
    let (ada, plain) = (app.enrolled().await, app.signed_up().await);
    let lowest = |all: &AtomicU64, seen: u64| {
        all.fetch_min(seen, Ordering::Relaxed);
    };
    let (with, without) = (AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX));
    for _ in 0..5 {
        let (before, hashes) = counts(&app);
        app.log_in(&plain.email, PASSWORD).await.assert_status(200);
        assert_eq!(counts(&app).1 - hashes, 1);
        lowest(&without, counts(&app).0 - before);
        let code = totp(&ada.authenticator.code(&app));
        let (before, hashes) = counts(&app);
        app.log_in_with(&ada.user.email, code).await.assert_status(200);
        assert_eq!(counts(&app).1 - hashes, 1);
        lowest(&with, counts(&app).0 - before);
        app.advance(30);
    }
    let (with, without) = (with.into_inner(), without.into_inner());
    println!("statements of a login: {without}, with a code {with}");
    // With PostgreSQL a transaction begins and ends by statements; with SQLite the writer's are not
    // counted.
    let more = if app.is_on_postgres() { 3 } else { 0 };
    assert!(with <= without + more, "{with} and {without}");
}

#[tokio::test]
async fn a_refresh_and_verify_cost_the_same_for_both() {
    let app = TestApp::start().await;
    let (ada, plain) = (app.enrolled().await, app.signed_up().await);
    let mut tokens = [ada.log_in().await, plain.another_session().await];
    let mut costs = [[u64::MAX; 2]; 2];
    for _ in 0..5 {
        app.advance(60);
        for (who, tokens) in tokens.iter_mut().enumerate() {
            let (before, hashes) = counts(&app);
            *tokens = app.refresh(&tokens.refresh).await.tokens();
            assert_eq!(counts(&app).1, hashes);
            costs[who][0] = costs[who][0].min(counts(&app).0 - before);
            let (before, _) = counts(&app);
            app.get("/verify").bearer(&tokens.access).send().await.assert_status(200);
            costs[who][1] = costs[who][1].min(counts(&app).0 - before);
        }
    }
    println!("statements of a refresh and of /verify: {costs:?}");
    assert_eq!(costs[0], costs[1]);
    assert_eq!(costs[0][1], 0);
}

#[tokio::test]
async fn a_closed_account_leaves_no_secret_behind() {
    let app = TestApp::start().await;
    let ada = app.enrolled().await;
    let tokens = ada.log_in().await;
    let body = serde_json::json!({ "password": PASSWORD });
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
