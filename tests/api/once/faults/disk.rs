//! A locked database and a full disk.

use std::path::PathBuf;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::clock::Clock;
use doorward::database::StoreError;
use futures_util::future::join_all;

use crate::support::TestApp;
use crate::support::client::PASSWORD;

use super::{LATER, add_user, assert_transient, emails};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_is_a_503_within_3_seconds_and_verification_goes_on() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let mut other = connect(&app);
    other.batch_execute("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE").unwrap();

    let clock = Clock::system();
    let begun = clock.monotonic();
    let writes = async |after: u64| {
        tokio::time::sleep(Duration::from_millis(after)).await;
        let asked = clock.monotonic();
        assert_transient(app.refresh(&user.tokens.refresh).await);
        clock.monotonic() - asked
    };
    // They arrive while others are queued, so that some are in another group.
    let waits = join_all([0, 100, 500, 1000, 1500, 2100].map(writes));
    let verification = async {
        let mut count = 0;
        while clock.monotonic() - begun < Duration::from_secs(3) {
            user.me().await.assert_status(200);
            count += 1;
        }
        count
    };
    let (waits, verified) = tokio::join!(waits, verification);
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(3)), "{waits:?}");
    assert!(verified > 10, "only {verified} verifications in 3 s");
    assert_transient(app.register("new@example.com", PASSWORD).await);
    assert_transient(user.log_out().await);
    user.me().await.assert_status(200);

    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(user.refresh().await.tokens().generation, 1);
    app.register("new@example.com", PASSWORD).await.assert_status(201);
    app.get("/readyz").send().await.assert_status(200);
    user.log_out().await.assert_status(204);
    user.me().await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_loses_nothing_and_needs_no_restart() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let leaving = user.another_session().await;
    let pages = |limit: &'static str| {
        app.db().write(move |tx| {
            tx.connection().batch_execute(&format!("PRAGMA max_page_count = {limit}"))
        })
    };
    // As low as possible: the pragma accepts no less than the pages in use.
    pages("1").await.unwrap();
    let mut acknowledged = emails(&app).await;
    for length in [3000, 300, 100, 1] {
        let refused = loop {
            let email = format!("{}{}@example.com", "x".repeat(length), acknowledged.len());
            let own = email.clone();
            match app.db().write(move |tx| add_user(tx, &own)).await {
                Ok(()) => acknowledged.insert(email),
                Err(error) => break error,
            };
        };
        assert_eq!(refused, StoreError::Unavailable);
    }
    assert_transient(app.register("new@example.com", PASSWORD).await);
    user.me().await.assert_status(200);
    app.get("/sessions").bearer(&user.tokens.access).send().await.assert_status(200);
    let left = app.post("/logout").bearer(&leaving.access).send().await;
    if left.status != 204 {
        assert_transient(left.clone());
        app.me(&leaving.access).await.assert_status(200);
    }
    let refreshed = user.refresh().await;
    if refreshed.status != 200 {
        assert_transient(refreshed);
    }
    assert_eq!(emails(&app).await, acknowledged);

    pages("1000000").await.unwrap();
    app.register("new@example.com", PASSWORD).await.assert_status(201);
    acknowledged.insert("new@example.com".into());
    app.advance(LATER);
    user.refresh().await.assert_status(200);
    let (refresh, access) = (user.tokens.refresh.clone(), user.tokens.access.clone());
    let app = app.restart().await;
    assert_eq!(emails(&app).await, acknowledged);
    app.me(&access).await.assert_status(200);
    app.refresh(&refresh).await.assert_status(200);
    if left.status == 204 {
        app.me(&leaving.access).await.assert_problem(401, "token_revoked");
    }
}

/// Another connection to the same file.
fn connect(app: &TestApp) -> SqliteConnection {
    let path: PathBuf = app.config.data_dir.join("doorward.db");
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}
