//! The table of refresh tokens, row by row, and the races between its rows.

use std::time::Duration;

use diesel::prelude::*;
use doorward::database::schema::{audit_events, blocklist, sessions, signing_keys, users};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::app::CROWD;
use crate::support::{TestApp, Tokens};

/// Past the retry window, which is 30 s by default.
const LATER: u64 = 31;

const KEY_1: &str = "key-number-one-0001";
const KEY_2: &str = "key-number-two-0002";

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
async fn a_token_refreshed_again_at_once_logs_out_no_slower_tab() {
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
    // The window has closed although it was in use until its last moment: this rotates.
    assert_eq!(app.refresh(&next.refresh).await.tokens().generation, 2);
}

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
    // The window is open again, so even the parent without its key is answered.
    assert_eq!(app.refresh(&user.tokens.refresh).await.tokens().generation, 1);
}

#[tokio::test]
async fn a_key_that_came_within_the_window_is_good_for_a_retry_too() {
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
    // It counts as none, so this is forgiven once, and not a proven retry that is good for ever.
    app.refresh_with_key(&one.refresh, KEY_1).await.assert_status(200);
    app.advance(LATER);
    app.refresh_with_key(&one.refresh, KEY_1).await.assert_ended("refresh_token_reused");
}

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

#[tokio::test]
async fn a_refresh_extends_the_session_up_to_its_absolute_end() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let mut token = user.tokens.refresh.clone();
    for _ in 0..4 {
        app.advance(20 * 86400);
        token = app.refresh(&token).await.tokens().refresh;
    }
    let answer = {
        app.advance(9 * 86400);
        app.refresh(&token).await.assert_status(200)
    };
    assert_eq!(answer.body["refresh_expires_in"], 86400);
    app.advance(86400);
    app.refresh(answer.body["refresh_token"].as_str().unwrap()).await.assert_ended("expired");
}

#[tokio::test]
async fn a_session_without_refreshes_expires() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    app.advance(30 * 86400);
    user.refresh().await.assert_ended("expired");
}

#[tokio::test]
async fn an_access_token_never_outlives_its_session() {
    let app =
        TestApp::with(|config| config.sessions.absolute_timeout = Duration::from_secs(900)).await;
    let mut user = app.signed_up().await;
    app.advance(600);
    let answer = user.refresh().await;
    assert_eq!(answer.body["expires_in"], 300);
    app.advance(300);
    user.me().await.assert_problem(401, "token_expired");
}

#[tokio::test]
async fn strict_mode_rotates_at_every_use_and_forgives_nothing() {
    let app = TestApp::with(|config| config.sessions.retry_window = Duration::ZERO).await;
    let user = app.signed_up().await;
    let one = app.refresh(&user.tokens.refresh).await.tokens();
    let two = app.refresh(&one.refresh).await.tokens();
    assert_eq!((one.generation, two.generation), (1, 2));
    app.refresh(&one.refresh).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn strict_mode_answers_a_retry_that_brings_its_key() {
    let app = TestApp::with(|config| config.sessions.retry_window = Duration::ZERO).await;
    let user = app.signed_up().await;
    let one = app.refresh_with_key(&user.tokens.refresh, KEY_1).await.tokens();
    let again = app.refresh_with_key(&user.tokens.refresh, KEY_1).await.tokens();
    assert_eq!(again.refresh, one.refresh);
    app.refresh_with_key(&user.tokens.refresh, KEY_2).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn a_forged_or_damaged_token_is_refused_and_touches_nothing() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let good = user.tokens.refresh.clone();
    let swapped = if good.as_bytes()[30] == b'A' { "B" } else { "A" };
    let forged = [
        format!("{}{swapped}{}", &good[..30], &good[31..]),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        format!("{good}=="),
        good.replacen("dwr_", "dwx_", 1),
        user.tokens.access.clone(),
        String::new(),
        "dwr_".into(),
    ];
    for token in forged {
        app.refresh(&token).await.assert_ended("unknown_token");
    }
    user.refresh().await.assert_status(200);
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_works_across_a_restart() {
    let app = TestApp::start().await;
    let (token, lost) = {
        let user = app.signed_up().await;
        let lost = app.refresh_with_key(&user.tokens.refresh, KEY_1).await.tokens();
        (user.tokens.refresh, lost)
    };
    let app = app.restart().await;
    assert_eq!(app.refresh(&token).await.tokens().refresh, lost.refresh, "in the window");
    app.advance(3600);
    let app = app.restart().await;
    let again = app.refresh_with_key(&token, KEY_1).await.tokens();
    assert_eq!(again.refresh, lost.refresh, "with its key, later");
}

#[tokio::test]
async fn a_thousand_refreshes_leave_every_row_count_as_it_was() {
    let app = TestApp::with(|config| {
        config.sessions.retry_window = Duration::ZERO;
        config.database.pool_size = 64;
    })
    .await;
    let mut users = Vec::new();
    for _ in 0..4 {
        users.push(app.signed_up().await);
    }
    let mut sessions = Vec::new();
    for user in &users {
        for _ in 0..16 {
            sessions.push(user.another_session().await.refresh);
        }
    }
    let before = row_counts(&app).await;
    let per_session = 1000 / sessions.len() + 1;
    join_all(sessions.into_iter().map(async |mut token| {
        for _ in 0..per_session {
            token = app.refresh(&token).await.tokens().refresh;
        }
    }))
    .await;
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn an_idempotency_key_of_the_wrong_size_is_an_error_and_costs_nothing() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    for key in ["short", &"k".repeat(256), "has a space inside it"] {
        let answer = app.refresh_with_key(&user.tokens.refresh, key).await;
        answer.assert_problem(400, "malformed_request");
    }
    assert_eq!(user.refresh().await.tokens().generation, 1);
}

#[tokio::test]
async fn a_session_that_refreshes_without_pause_is_slowed_down_and_kept() {
    let app = TestApp::with(|config| {
        config.limits.refresh_burst = 5;
        config.limits.refresh_per_minute = 1;
    })
    .await;
    let mut user = app.signed_up().await;
    let other = user.another_session().await;
    for _ in 0..5 {
        user.refresh().await.assert_status(200);
    }
    let refused = user.refresh().await.assert_problem(429, "rate_limited");
    assert_eq!(refused.body["transient"], json!(true));
    assert!(refused.header("retry-after").is_some());
    app.refresh(&other.refresh).await.assert_status(200);
    user.me().await.assert_status(200);
}

/// The rows of users, sessions, blocklist, keys and events.
async fn row_counts(app: &TestApp) -> [i64; 5] {
    let counts = app.db().read(|c| {
        Ok([
            users::table.count().get_result(c)?,
            sessions::table.count().get_result(c)?,
            blocklist::table.count().get_result(c)?,
            signing_keys::table.count().get_result(c)?,
            audit_events::table.count().get_result(c)?,
        ])
    });
    counts.await.unwrap()
}

/// What a failover to an older copy of the database does to a session.
async fn set_generation(app: &TestApp, session: &str, generation: i64) {
    let id = doorward::database::Id::from(uuid::Uuid::parse_str(session).unwrap());
    let changed = app.db().write(move |tx| {
        diesel::update(sessions::table.find(id))
            .set(sessions::generation.eq(generation))
            .execute(tx.connection())
    });
    assert_eq!(changed.await.unwrap(), 1);
}
