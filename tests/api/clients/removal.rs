//! The removal of a client.

use diesel::prelude::*;
use doorward::database::schema::clients;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::app::CROWD;
use crate::support::{TestApp, id, until};

use super::remove;

#[tokio::test]
async fn removing_a_client_ends_only_its_sessions_and_tokens() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, other) = (app.public_client().await, app.public_client().await);
    let mut lost = Vec::new();
    for _ in 0..3 {
        lost.push(app.log_in_to(&shop, &user.email).await.tokens());
    }
    let kept = app.log_in_to(&other, &user.email).await.tokens();
    assert_eq!(remove(&app, &shop).await, Some(3));
    for tokens in &lost {
        app.me(&tokens.access).await.assert_problem(401, "token_revoked");
        app.refresh_as(&shop, &tokens.refresh).await.assert_ended("client_removed");
    }
    app.log_in_to(&shop, &user.email).await.assert_problem(400, "unknown_client");
    app.me(&kept.access).await.assert_status(200);
    app.me(&user.tokens.access).await.assert_status(200);
    app.refresh_as(&other, &kept.refresh).await.assert_status(200);
    assert_eq!(app.live_sessions(&user.id).await.len(), 2);
    assert_eq!(remove(&app, &shop).await, None);

    let app = app.restart().await;
    app.me(&lost[0].access).await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn an_interrupted_removal_lets_no_session_continue() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, service) = (app.public_client().await, app.service(&[]).await);
    let tokens = app.log_in_to(&shop, &user.email).await.tokens();
    // Only its first unit of work.
    let client = id(&shop.id);
    let revocations = app.api.revocations.clone();
    let now = app.clock.now();
    app.db()
        .write(move |tx| {
            diesel::delete(clients::table.find(client.to_string())).execute(tx.connection())?;
            revocations.revoke(tx, client, now)
        })
        .await
        .unwrap();
    app.me(&tokens.access).await.assert_problem(401, "token_revoked");
    app.refresh_as(&shop, &tokens.refresh).await.assert_ended("client_removed");
    let said = app.introspect(&service, &tokens.refresh).await.assert_status(200);
    assert_eq!(said.body, json!({ "active": false }));
    assert_eq!(remove(&app, &shop).await, Some(1), "another call continues");
    app.refresh_as(&shop, &tokens.refresh).await.assert_ended("client_removed");
}

#[tokio::test]
async fn parallel_logins_and_refreshes_leave_no_token_of_a_removed_client() {
    let app = TestApp::with(|config| config.database.pool_size = CROWD).await;
    let user = app.signed_up().await;
    let shop = app.public_client().await;
    let done = AtomicUsize::new(0);
    // Each continues until it is rejected.
    let lanes = join_all((0..4).map(async |_| {
        let mut got = Vec::new();
        loop {
            let answer = app.log_in_to(&shop, &user.email).await;
            if answer.status != 200 {
                answer.assert_problem(400, "unknown_client");
                return got;
            }
            let first = answer.tokens();
            let next = app.refresh_as(&shop, &first.refresh).await;
            got.push(first);
            done.fetch_add(1, Ordering::Relaxed);
            if next.status != 200 {
                next.assert_ended("client_removed");
                return got;
            }
            got.push(next.tokens());
        }
    }));
    let removal = async {
        until(async || done.load(Ordering::Relaxed) >= 6).await;
        remove(&app, &shop).await
    };
    let (lanes, removed) = tokio::join!(lanes, removal);
    assert!(removed.is_some_and(|ended| ended >= 6));
    for tokens in lanes.into_iter().flatten() {
        app.me(&tokens.access).await.assert_problem(401, "token_revoked");
        app.refresh_as(&shop, &tokens.refresh).await.assert_ended("client_removed");
    }
}
