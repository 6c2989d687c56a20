//! Lost answers: forgiven once without a key, always with one.

use futures_util::future::join_all;

use crate::support::TestApp;

use super::{KEY_1, KEY_2, LATER};

#[tokio::test]
async fn a_lost_answer_is_forgiven_once_and_not_twice_in_a_row() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let lost = app.refresh(&user.tokens.refresh).await.tokens();
    app.advance(3600);
    let again = app.refresh(&user.tokens.refresh).await.tokens();
    assert_eq!(again.refresh, lost.refresh);
    app.advance(LATER);
    let second = app.refresh(&again.refresh).await.tokens();
    assert_eq!(second.generation, 2);
    app.advance(3600);
    app.refresh(&again.refresh).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn a_forgiven_token_cannot_be_forgiven_again() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    app.refresh(&user.tokens.refresh).await.assert_status(200);
    app.advance(3600);
    app.refresh(&user.tokens.refresh).await.assert_status(200);
    app.advance(3600);
    app.refresh(&user.tokens.refresh).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn a_lost_answer_is_forgiven_again_after_two_whole_rotations() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let mut token = user.tokens.refresh.clone();
    for _ in 0..5 {
        let _lost = app.refresh(&token).await.tokens();
        app.advance(3600);
        let again = app.refresh(&token).await.tokens();
        app.advance(LATER);
        let next = app.refresh(&again.refresh).await.tokens();
        app.advance(LATER);
        token = app.refresh(&next.refresh).await.tokens().refresh;
        app.advance(LATER);
    }
}

#[tokio::test]
async fn a_retry_with_its_key_is_answered_at_any_later_time() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let lost = app.refresh_with_key(&user.tokens.refresh, KEY_1).await.tokens();
    for _ in 0..5 {
        app.advance(3600);
        let again = app.refresh_with_key(&user.tokens.refresh, KEY_1).await.tokens();
        assert_eq!(again.refresh, lost.refresh);
    }
    app.advance(LATER);
    assert_eq!(app.refresh(&lost.refresh).await.tokens().generation, 2);
}

#[tokio::test]
async fn two_tabs_that_retry_with_the_key_an_hour_later_both_live() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    app.refresh_with_key(&user.tokens.refresh, KEY_1).await.assert_status(200);
    app.advance(3600);
    let answers = join_all((0..2).map(async |_| {
        let again = app.refresh_with_key(&user.tokens.refresh, KEY_1).await.tokens();
        app.refresh(&again.refresh).await.tokens()
    }))
    .await;
    assert!(answers.iter().all(|t| t.generation == 1));
    // The window is open again, so even the predecessor without its key is accepted.
    assert_eq!(app.refresh(&user.tokens.refresh).await.tokens().generation, 1);
}

#[tokio::test]
async fn a_key_sent_within_the_window_proves_a_retry_too() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    app.refresh_with_key(&user.tokens.refresh, KEY_1).await.assert_status(200);
    app.refresh_with_key(&user.tokens.refresh, KEY_2).await.assert_status(200);
    app.advance(3600);
    let again = app.refresh_with_key(&user.tokens.refresh, KEY_2).await.tokens();
    assert_eq!(again.generation, 1);
}

#[tokio::test]
async fn a_session_with_keys_is_not_forgiven_without_one() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    app.refresh_with_key(&user.tokens.refresh, KEY_1).await.assert_status(200);
    app.advance(3600);
    app.refresh_with_key(&user.tokens.refresh, KEY_2).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn a_key_of_the_rotation_before_proves_nothing() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let one = app.refresh_with_key(&user.tokens.refresh, KEY_1).await.tokens();
    app.advance(LATER);
    let two = app.refresh_with_key(&one.refresh, KEY_1).await.tokens();
    assert_eq!(two.generation, 2);
    app.advance(LATER);
    // It counts as none, so this is forgiven once, and is not a proven retry that is valid for
    // ever.
    app.refresh_with_key(&one.refresh, KEY_1).await.assert_status(200);
    app.advance(LATER);
    app.refresh_with_key(&one.refresh, KEY_1).await.assert_ended("refresh_token_reused");
}
