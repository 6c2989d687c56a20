//! Rotation, and refreshes at the same time.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::{TestApp, Tokens};

use super::{LATER, row_counts};

#[tokio::test]
async fn a_refresh_rotates_the_token_and_moves_the_generation_by_one() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    assert_eq!(user.tokens.generation, 0);
    let first = user.tokens.clone();
    user.refresh().await.assert_status(200);
    assert_eq!(user.tokens.generation, 1);
    assert_ne!(user.tokens.refresh, first.refresh);
    assert_eq!(user.tokens.session, first.session);
    user.me().await.assert_status(200);
    app.me(&first.access).await.assert_status(200);
}

#[tokio::test]
async fn a_hundred_parallel_refreshes_get_one_and_the_same_successor() {
    let app = TestApp::with(|config| config.database.pool_size = 100).await;
    let user = app.signed_up().await;
    let answers = join_all((0..100).map(|_| app.refresh(&user.tokens.refresh))).await;
    let tokens: Vec<Tokens> = answers.into_iter().map(|answer| answer.tokens()).collect();
    assert!(tokens.iter().all(|t| t.refresh == tokens[0].refresh && t.generation == 1));
    assert_eq!(app.refresh(&tokens[0].refresh).await.tokens().generation, 1, "in the window");
}

#[tokio::test]
async fn a_second_refresh_within_the_window_logs_out_no_slower_tab() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let fast = app.refresh(&user.tokens.refresh).await.tokens();
    let again = app.refresh(&fast.refresh).await.tokens();
    let slow = app.refresh(&user.tokens.refresh).await.tokens();
    assert_eq!((again.generation, slow.generation), (1, 1));
    assert_eq!(slow.refresh, again.refresh);
    app.advance(LATER);
    assert_eq!(app.refresh(&again.refresh).await.tokens().generation, 2);
}

#[tokio::test]
async fn two_tabs_that_refresh_and_refresh_again_are_never_logged_out() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let mut token = user.tokens.refresh.clone();
    for round in 1..=20 {
        app.advance(LATER);
        let answers = join_all((0..2).map(async |_| {
            let first = app.refresh(&token).await.tokens();
            app.refresh(&first.refresh).await.tokens()
        }))
        .await;
        assert!(answers.iter().all(|t| t.generation == round), "{answers:?}");
        token = answers[0].refresh.clone();
    }
}

#[tokio::test]
async fn replays_in_the_window_move_neither_the_window_nor_a_row_count() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let next = app.refresh(&user.tokens.refresh).await.tokens();
    let before = row_counts(&app).await;
    for _ in 0..50 {
        assert_eq!(app.refresh(&user.tokens.refresh).await.tokens().refresh, next.refresh);
        assert_eq!(app.refresh(&next.refresh).await.tokens().refresh, next.refresh);
        app.clock.advance(Duration::from_millis(590));
    }
    assert_eq!(row_counts(&app).await, before);
    app.clock.advance(Duration::from_millis(500));
    // The window has closed although it was used until its end: this rotates.
    assert_eq!(app.refresh(&next.refresh).await.tokens().generation, 2);
}
