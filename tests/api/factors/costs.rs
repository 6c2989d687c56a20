//! The cost of a second factor.

use crate::support::statements::WriterStatements;
use crate::support::totp::totp;
use crate::support::{PASSWORD, TestApp};

/// Statements and hashes so far.
fn counts(app: &TestApp, written: &WriterStatements) -> (u64, u64) {
    (app.db().load().statements + written.so_far(), app.hashed())
}

#[tokio::test]
async fn a_login_with_a_code_costs_one_hash_and_one_more_write() {
    let app = TestApp::start().await;
    let (ada, plain) = (app.enrolled().await, app.signed_up().await);
    let written = WriterStatements::count(app.db()).await;
    let counts = || counts(&app, &written);
    // The lowest of five: background tasks have statements, too.
    let (mut with, mut without) = (u64::MAX, u64::MAX);
    for _ in 0..5 {
        let (before, hashes) = counts();
        app.log_in(&plain.email, PASSWORD).await.assert_status(200);
        assert_eq!(counts().1 - hashes, 1);
        without = without.min(counts().0 - before);
        let code = totp(&ada.authenticator.code(&app));
        let (before, hashes) = counts();
        app.log_in_with(&ada.user.email, code).await.assert_status(200);
        assert_eq!(counts().1 - hashes, 1);
        with = with.min(counts().0 - before);
        app.advance(30);
    }
    println!("statements of a login: {without}, with a code {with}");
    // The reservation of a guess: an UPDATE in a transaction, and on SQLite in a savepoint.
    let more = if app.is_on_postgres() { 3 } else { 5 };
    assert!(with <= without + more, "{with} and {without}");
}

#[tokio::test]
async fn a_refresh_and_verify_cost_the_same_for_both() {
    let app = TestApp::start().await;
    let (ada, plain) = (app.enrolled().await, app.signed_up().await);
    let written = WriterStatements::count(app.db()).await;
    let counts = || counts(&app, &written);
    let mut tokens = [ada.log_in().await, plain.another_session().await];
    let mut costs = [[u64::MAX; 2]; 2];
    for _ in 0..5 {
        app.advance(60);
        for (who, tokens) in tokens.iter_mut().enumerate() {
            let (before, hashes) = counts();
            *tokens = app.refresh(&tokens.refresh).await.tokens();
            assert_eq!(counts().1, hashes);
            costs[who][0] = costs[who][0].min(counts().0 - before);
            let (before, _) = counts();
            app.get("/verify").bearer(&tokens.access).send().await.assert_status(200);
            costs[who][1] = costs[who][1].min(counts().0 - before);
        }
    }
    println!("statements of a refresh and of /verify: {costs:?}");
    assert_eq!(costs[0], costs[1]);
    assert_eq!(costs[0][1], 0);
}
