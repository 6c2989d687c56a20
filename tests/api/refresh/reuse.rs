//! Reuse of a rotated token.

use diesel::prelude::*;
use doorward::database::schema::sessions;
use futures_util::future::join_all;

use crate::support::TestApp;
use crate::support::app::CROWD;

use super::LATER;

#[tokio::test]
async fn a_token_that_is_two_rotations_old_ends_its_own_session_and_no_other() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let other = user.another_session().await;
    let old = user.tokens.refresh.clone();
    user.refresh().await.assert_status(200);
    app.advance(LATER);
    user.refresh().await.assert_status(200);
    user.me().await.assert_status(200);

    app.refresh(&old).await.assert_ended("refresh_token_reused");
    user.me().await.assert_problem(401, "token_revoked");
    user.refresh().await.assert_ended("refresh_token_reused");
    app.me(&other.access).await.assert_status(200);
    app.refresh(&other.refresh).await.assert_status(200);
}

#[tokio::test]
async fn a_reuse_under_parallel_refreshes_ends_the_session_for_all_of_them() {
    let app = TestApp::with(|config| config.database.pool_size = CROWD).await;
    let mut user = app.signed_up().await;
    let old = user.tokens.refresh.clone();
    user.refresh().await.assert_status(200);
    app.advance(LATER);
    user.refresh().await.assert_status(200);
    let tokens = user.tokens.clone();
    let (reuse, _) =
        tokio::join!(app.refresh(&old), join_all((0..20).map(|_| app.refresh(&tokens.refresh))));
    reuse.assert_ended("refresh_token_reused");
    app.refresh(&tokens.refresh).await.assert_ended("refresh_token_reused");
    user.me().await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn a_token_newer_than_the_database_moves_the_session_forward() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let one = app.refresh(&user.tokens.refresh).await.tokens();
    app.advance(LATER);
    let two = app.refresh(&one.refresh).await.tokens();
    set_generation(&app, &user.tokens.session, 0).await;
    app.advance(LATER);
    let three = app.refresh(&two.refresh).await.tokens();
    assert_eq!(three.generation, 3);
    assert_eq!(app.refresh(&two.refresh).await.tokens().refresh, three.refresh);
}

/// The effect of a failover to an older copy of the database on a session.
async fn set_generation(app: &TestApp, session: &str, generation: i64) {
    let id = doorward::database::Id::from(uuid::Uuid::parse_str(session).unwrap());
    let changed = app.db().write(move |tx| {
        diesel::update(sessions::table.find(id))
            .set(sessions::generation.eq(generation))
            .execute(tx.connection())
    });
    assert_eq!(changed.await.unwrap(), 1);
}
