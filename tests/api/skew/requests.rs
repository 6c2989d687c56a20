//! Requests to a node with a wrong clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use doorward::clock::Clock;
use doorward::database::schema::users;
use doorward::database::time::server_time;
use doorward::passwords::PasswordHash;
use serde_json::json;

use crate::support::app::COSTLY_KIB;
use crate::support::client::PASSWORD;
use crate::support::feed::verifier;
use crate::support::{TestApp, User, id};

use super::{NEW_PASSWORD, SKEWS, all_refuse, moved, purge, two_nodes};

#[tokio::test]
async fn requests_to_a_node_with_a_wrong_clock_take_effect() {
    for skew in SKEWS {
        let (app, node) = two_nodes().await;
        let wrong = app.another_node_by(Clock::manual(moved(app.clock.now(), skew))).await;
        let verifier = verifier(&app).await;
        let mut ended = Vec::new();
        for how in ["all", "others", "password", "close", "one"] {
            let user = app.signed_up().await;
            let other = user.another_session().await;
            let refreshed = app.refresh(&other.refresh).await.tokens();
            let tokens = [user.tokens.clone(), other, refreshed];
            let here = wrong.log_in(&user.email, PASSWORD).await.tokens();
            let here = User { app: &wrong, id: user.id, email: user.email, tokens: here };
            let answer = match how {
                "all" | "others" => here.log_out_scope(how).await,
                "password" => here.change_password(PASSWORD, NEW_PASSWORD).await,
                "close" => here.close(PASSWORD).await,
                _ => {
                    for tokens in &tokens[..2] {
                        let path = format!("/sessions/{}", tokens.session);
                        let end = wrong.call("DELETE", &path).bearer(&here.tokens.access);
                        end.send().await.assert_status(204);
                    }
                    here.me().await
                }
            };
            assert!(answer.status < 300, "{how}: {}", answer.text);
            ended.extend(tokens);
        }
        let what = format!("a node that is {skew} s ahead");
        all_refuse(&what, &[&app, &node, &wrong], &verifier, &ended).await;
        app.advance(590);
        purge(&app).await;
        let started = app.another_node().await;
        all_refuse(&what, &[&app, &node, &started], &verifier, &ended).await;
    }
}

#[tokio::test]
async fn a_long_expired_session_is_listed_only_without_a_database_clock() {
    let (app, _node) = two_nodes().await;
    let user = app.signed_up().await;
    // It expired two days ago.
    let past = app.clock.now().minus(Duration::from_secs(2 * 86400)).as_micros();
    let expired = user.another_session().await;
    let expire = format!(
        "UPDATE sessions SET created_at = {past}, last_seen_at = {past}, expires_at = {past} \
         WHERE id = '{}'",
        expired.session
    );
    let expire = app.db().write(move |tx| diesel::sql_query(&expire).execute(tx.connection()));
    assert_eq!(expire.await.unwrap(), 1);
    user.log_out_scope("all").await.assert_status(204);
    assert!(app.live_sessions(&user.id).await.is_empty());
    assert!(app.api.revocations.contains(id(&user.tokens.session)));
    let is_listed = app.api.revocations.contains(id(&expired.session));
    assert_eq!(is_listed, !app.is_on_postgres());
}

#[tokio::test]
async fn a_revocation_is_listed_from_the_database_s_time_on() {
    let app = TestApp::start().await;
    let Some(server) = app.db().read(server_time).await.unwrap() else {
        return; // SQLite has no clock of its own.
    };
    let revocations = app.api.revocations.clone();
    let client = uuid::Uuid::new_v4().into();
    let long_ago = server.minus(Duration::from_secs(86400));
    app.db().write(move |tx| revocations.revoke(tx, client, long_ago)).await.unwrap();
    app.advance(600 + 30);
    purge(&app).await;
    assert!(app.api.revocations.contains(client));
}

#[tokio::test]
async fn a_login_to_a_constantly_changing_account_gets_a_retry() {
    let app = TestApp::with(|config| {
        config.passwords.memory_kib = COSTLY_KIB;
        // Some 150 ms each: enough for a change on every machine.
        config.passwords.iterations = 10;
        config.limits.failed_logins_per_address = 1;
    })
    .await;
    let user = app.signed_up().await;
    let operator = app.admin();
    let owner = id(&user.id);
    let hash = app.db().read(move |c| {
        users::table.find(owner).select(users::password_hash).get_result::<String>(c)
    });
    let hash = PasswordHash::from_stored(hash.await.unwrap());
    let is_over = AtomicBool::new(false);
    let before = app.hashed();
    // The same password is set repeatedly, while the login hashes.
    let changes = async {
        while !is_over.load(Ordering::Relaxed) {
            operator.set_password(owner, hash.clone()).await.unwrap();
        }
    };
    let login = async {
        let answer = app.log_in(&user.email, PASSWORD).await;
        is_over.store(true, Ordering::Relaxed);
        answer
    };
    let ((), refused) = tokio::join!(changes, login);
    let refused = refused.assert_problem(503, "unavailable");
    assert_eq!(refused.body["transient"], json!(true));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(app.hashed() - before, 3, "compared three times");
    assert!(app.live_sessions(&user.id).await.is_empty());

    // None of it counts as a failure.
    let tokens = app.log_in(&user.email, PASSWORD).await.tokens();
    is_over.store(false, Ordering::Relaxed);
    let changes = async {
        while !is_over.load(Ordering::Relaxed) {
            let raise = "UPDATE users SET credentials_version = credentials_version + 1";
            let raise = app.db().write(move |tx| diesel::sql_query(raise).execute(tx.connection()));
            assert_eq!(raise.await.unwrap(), 1);
        }
    };
    let closing = async {
        let user = User { app: &app, id: user.id, email: user.email, tokens };
        let answer = user.close(PASSWORD).await;
        is_over.store(true, Ordering::Relaxed);
        answer
    };
    let ((), refused) = tokio::join!(changes, closing);
    refused.assert_problem(503, "unavailable");
}
