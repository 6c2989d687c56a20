//! Logins at the same time as a change of the account.

use doorward::config::Config;
use futures_util::future::join_all;

use crate::support::{PASSWORD, TestApp, id, until};

use super::{BlockedChanges, cheap_hashes, generous, wait_until_queued};

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";

#[tokio::test]
async fn a_login_that_checked_the_old_password_while_it_changed_leaves_no_session() {
    let app = TestApp::with(one_thread).await;
    let user = app.signed_up().await;
    let held = BlockedChanges::back(&app, &user.id).await;
    let before = app.hashed();
    let (changed, login, ()) = tokio::join!(
        user.change_password(PASSWORD, NEW_PASSWORD),
        async {
            // The change has done its two hashes, and waits to be stored.
            until(async || app.hashed() == before + 2).await;
            wait_until_queued(&app, 1).await;
            app.log_in(&user.email, PASSWORD).await
        },
        async {
            // The login has read the old hash, which is still stored.
            until(async || app.hashed() == before + 3).await;
            wait_until_queued(&app, 2).await;
            held.release();
        },
    );
    let new = changed.tokens();
    login.assert_problem(401, "invalid_credentials");
    assert_eq!(app.live_sessions(&user.id).await, [new.session]);
}

#[tokio::test]
async fn a_login_that_raced_a_close_leaves_no_session() {
    let app = TestApp::with(one_thread).await;
    let user = app.signed_up().await;
    let held = BlockedChanges::back(&app, &user.id).await;
    let before = app.hashed();
    let (closed, login, ()) = tokio::join!(
        user.close(PASSWORD),
        async {
            until(async || app.hashed() == before + 1).await;
            wait_until_queued(&app, 1).await;
            app.log_in(&user.email, PASSWORD).await
        },
        async {
            until(async || app.hashed() == before + 2).await;
            wait_until_queued(&app, 2).await;
            held.release();
        },
    );
    closed.assert_status(204);
    login.assert_problem(401, "invalid_credentials");
    assert!(app.live_sessions(&user.id).await.is_empty());
}

#[tokio::test]
async fn a_login_that_raced_a_disable_leaves_no_session() {
    let app = TestApp::with(one_thread).await;
    let user = app.signed_up().await;
    let held = BlockedChanges::back(&app, &user.id).await;
    let (admin, id) = (app.api.account_admin.clone(), id(&user.id));
    let disabled = tokio::spawn(async move { admin.disable(id).await });
    // After one poll it is in the writer's queue.
    tokio::task::yield_now().await;
    wait_until_queued(&app, 1).await;
    let before = app.hashed();
    let (login, ()) = tokio::join!(app.log_in(&user.email, PASSWORD), async {
        until(async || app.hashed() == before + 1).await;
        wait_until_queued(&app, 2).await;
        held.release();
    });
    assert!(disabled.await.unwrap().unwrap().changed);
    login.assert_problem(401, "invalid_credentials");
    assert!(app.live_sessions(&user.id).await.is_empty());
}

#[tokio::test]
async fn after_a_password_change_every_live_session_was_started_with_the_new_one() {
    const ROUNDS: usize = 60;
    // A busy machine takes longer to produce the race.
    const MAX_ROUNDS: usize = 10 * ROUNDS;
    let app = TestApp::with(|config| {
        cheap_hashes(config);
        generous(config);
    })
    .await;
    let mut user = app.signed_up().await;
    let mut password = PASSWORD.to_owned();
    let (mut lost, mut ended) = (0, 0);
    // How many scheduler turns the change waits, and how many lie between two logins: so many that
    // the logins arrive throughout the change, on every machine and database.
    let (mut change_after, mut between) = (0, 8);
    for round in 0..MAX_ROUNDS {
        if round >= ROUNDS && lost > 0 && ended > 0 {
            break;
        }
        let new = format!("{NEW_PASSWORD} {round}");
        let log_in = async |password: &str, delay| {
            turns(delay).await;
            app.log_in(&user.email, password).await
        };
        let (changed, old, fresh) = tokio::join!(
            async {
                turns(change_after).await;
                user.change_password(&password, &new).await
            },
            join_all((0..8).map(|n| log_in(&password, n * between))),
            join_all((0..2).map(|n| log_in(&new, n * 4 * between))),
        );
        let changed = changed.tokens();
        let mut allowed = vec![changed.session.clone()];
        for answer in fresh.into_iter().filter(|answer| answer.status == 200) {
            allowed.push(answer.tokens().session);
        }
        let (before, of_all) = (ended, old.len());
        for answer in old {
            if answer.status == 200 {
                let tokens = answer.tokens();
                app.me(&tokens.access).await.assert_problem(401, "token_revoked");
                app.refresh(&tokens.refresh).await.assert_ended("password_changed");
                ended += 1;
            } else {
                answer.assert_problem(401, "invalid_credentials");
                lost += 1;
            }
        }
        match ended - before {
            0 => change_after += 4,
            n if n == of_all => between += 8,
            _ => {}
        }
        let mut live = app.live_sessions(&user.id).await;
        live.sort();
        allowed.sort();
        assert_eq!(live, allowed, "round {round}");
        (user.tokens, password) = (changed, new);
    }
    assert!(lost > 0 && ended > 0, "{lost} logins came after a change, {ended} before: no race");
}

#[tokio::test]
async fn no_login_outlives_a_disable_that_it_raced() {
    let app = TestApp::with(|config| {
        cheap_hashes(config);
        generous(config);
    })
    .await;
    for _ in 0..50 {
        let user = app.signed_up().await;
        let (disabled, logins) = tokio::join!(
            async {
                turns(4).await;
                app.api.account_admin.disable(id(&user.id)).await
            },
            join_all((0..6).map(|_| app.log_in(&user.email, PASSWORD)))
        );
        assert!(disabled.unwrap().changed);
        for login in logins {
            if login.status == 200 {
                app.me(&login.tokens().access).await.assert_problem(401, "token_revoked");
            } else {
                login.assert_problem(401, "invalid_credentials");
            }
        }
        assert!(app.live_sessions(&user.id).await.is_empty());
    }
}

/// Yields to other tasks this many times.
async fn turns(number: usize) {
    for _ in 0..number {
        tokio::task::yield_now().await;
    }
}

fn one_thread(config: &mut Config) {
    config.passwords.threads = 1;
}
