//! `/verify` with cookies, for gateways.

use std::time::Duration;

use diesel::prelude::*;
use doorward::database::schema::users;

use crate::support::jar::Jar;
use crate::support::{TestApp, id};

use super::{SITE, from, start};

#[tokio::test]
async fn a_gateway_gets_the_identity_of_a_request() {
    let app = start().await;
    let user = app.signed_up().await;
    let owner = id(&user.id);
    let promoted = app.db().write(move |tx| {
        let user = users::table.filter(users::id.eq(owner));
        let roles = users::roles.eq("editor auditor");
        diesel::update(user).set(roles).execute(tx.connection())
    });
    promoted.await.unwrap();
    let plain = app.get("/verify").bearer(&user.tokens.access).send().await.assert_status(200);
    assert_eq!(plain.text, "");
    assert_eq!(plain.header("cache-control"), Some("no-store"));
    assert_eq!(plain.header("x-auth-user"), Some(&*user.id));
    assert_eq!(plain.header("x-auth-session"), Some(&*user.tokens.session));
    assert_eq!(plain.header("x-auth-client"), Some("doorward"));
    assert_eq!(plain.header("x-auth-roles"), Some(""), "the token is from before the change");
    assert_eq!(plain.header("x-auth-scope"), Some(""));

    let jar = Jar::log_in(&app, &user.email).await;
    let call = app.get("/verify").header("cookie", &jar.field());
    let answer = call.header("x-forwarded-method", "GET").send().await.assert_status(200);
    assert_eq!(answer.header("x-auth-user"), Some(&*user.id));
    assert_eq!(answer.header("x-auth-roles"), Some("editor auditor"));

    user.log_out().await.assert_status(204);
    let refused = app.get("/verify").bearer(&user.tokens.access).send().await;
    let refused = refused.assert_problem(401, "token_revoked");
    assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer "));
    assert!(refused.headers.keys().all(|name| !name.as_str().starts_with("x-auth-")));
    app.get("/verify").send().await.assert_problem(401, "missing_token");
    app.get("/verify").bearer("eyJ").send().await.assert_problem(401, "invalid_token");
}

#[tokio::test]
async fn the_forwarded_method_matters_only_with_a_cookie() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    let (original, forwarded) = ("x-original-method", "x-forwarded-method");
    for (fields, passes) in [
        (&[(original, "GET")][..], true),
        (&[(forwarded, "HEAD")], true),
        (&[(original, "GET"), (forwarded, "OPTIONS")], true),
        (&[], false),
        (&[(original, "POST")], false),
        (&[(forwarded, "DELETE")], false),
        (&[(original, "get")], false),
        (&[(original, "")], false),
        (&[(original, "BREW")], false),
        (&[(original, "GET"), (forwarded, "POST")], false),
        (&[(original, "POST"), (forwarded, "GET")], false),
        (&[(original, "GET"), (original, "PUT")], false),
        (&[(original, "GET"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")], false),
    ] {
        let cookie = app.get("/verify").header("cookie", &jar.field());
        let foreign = from(fields, cookie).header(SITE, "cross-site").send().await;
        assert_eq!(foreign.status, if passes { 200 } else { 403 }, "{fields:?}");
        from(fields, jar.own(app.get("/verify"))).send().await.assert_status(200);
        let bearer = app.get("/verify").bearer(&user.tokens.access).header(SITE, "cross-site");
        from(fields, bearer).send().await.assert_status(200);
    }
}

#[tokio::test]
async fn verify_works_without_the_database_and_fails_closed() {
    let app = TestApp::with(|config| config.database.pool_size = 1).await;
    let user = app.signed_up().await;
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
    let busy = tokio::spawn(app.db().read(move |_| {
        begun.blocking_send(()).unwrap();
        let _ = held.recv();
        Ok(())
    }));
    has_begun.recv().await;
    app.get("/verify").bearer(&user.tokens.access).send().await.assert_status(200);
    drop(release);
    busy.await.unwrap().unwrap();

    let stale = TestApp::with(|config| config.revocations.max_staleness = Duration::ZERO).await;
    let user = stale.signed_up().await;
    let answer = stale.get("/verify").bearer(&user.tokens.access).send().await;
    answer.assert_problem(503, "revocations_stale");
}
