//! How long ended sessions and closed accounts are remembered.

use diesel::prelude::*;
use doorward::database::schema::{sessions, users};

use crate::support::{PASSWORD, TestApp};

use super::{DAY, log_out_by_token};

#[tokio::test]
async fn an_ended_session_is_remembered_for_ninety_days() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let refused = user.another_session().await;
    log_out_by_token(&app, &refused.refresh).await.assert_status(204);
    app.advance(90 * DAY);
    let present = user.another_session().await;
    purge(&app).await;
    app.refresh(&refused.refresh).await.assert_ended("logout");
    app.refresh(&user.tokens.refresh).await.assert_ended("expired");

    app.advance(1);
    purge(&app).await;
    app.refresh(&refused.refresh).await.assert_ended("unknown_token");
    app.refresh(&user.tokens.refresh).await.assert_ended("expired");
    app.me(&present.access).await.assert_status(200);

    // An expired session is kept from its absolute timeout on.
    app.advance(90 * DAY);
    purge(&app).await;
    app.refresh(&user.tokens.refresh).await.assert_ended("unknown_token");
    assert_eq!(count_sessions(&app).await, 1);
}

#[tokio::test]
async fn a_closed_account_is_forgotten_after_its_last_session() {
    let app = TestApp::start().await;
    let (user, other) = (app.signed_up().await, app.signed_up().await);
    user.close(PASSWORD).await.assert_status(204);
    app.advance(90 * DAY);
    purge(&app).await;
    app.refresh(&user.tokens.refresh).await.assert_ended("account_closed");
    assert_eq!(count_users(&app).await, 2);
    app.advance(1);
    purge(&app).await;
    app.refresh(&user.tokens.refresh).await.assert_ended("unknown_token");
    assert_eq!(count_users(&app).await, 1);
    app.log_in(&other.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn many_old_sessions_are_purged_in_batches() {
    let app = TestApp::with(|config| {
        config.passwords.memory_kib = 256;
        config.sessions.max_per_user = 1000;
    })
    .await;
    let user = app.signed_up().await;
    for _ in 0..250 {
        user.another_session().await;
    }
    user.log_out_scope("all").await.assert_status(204);
    app.advance(90 * DAY + 1);
    assert!(app.api.sessions.purge(app.clock.now()).await.unwrap());
    assert_eq!(count_sessions(&app).await, 51, "two hundred at a time");
    while app.api.sessions.purge(app.clock.now()).await.unwrap() {}
    assert_eq!(count_sessions(&app).await, 0);
}

/// The service's purge, which runs every minute.
async fn purge(app: &TestApp) {
    while app.api.sessions.purge(app.clock.now()).await.unwrap() {}
    while app.api.accounts.purge().await.unwrap() {}
}

async fn count_sessions(app: &TestApp) -> i64 {
    app.db().read(|c| sessions::table.count().get_result(c)).await.unwrap()
}

async fn count_users(app: &TestApp) -> i64 {
    app.db().read(|c| users::table.count().get_result(c)).await.unwrap()
}
