//! Ending sessions from a process whose clock is wrong: nothing of what was ended works again, now or
//! after a purge, on any node or at a verifier. And an account that is being changed while somebody
//! logs in.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use doorward::clients::{ClientKind, ClientSettings};
use doorward::clock::{Clock, Timestamp};
use doorward::database::schema::users;
use doorward::database::time::server_time;
use doorward::passwords::PasswordHash;
use doorward::tokens::revocation_id_of_kid;
use doorward_verifier::{Verifier, VerifyError};
use serde_json::json;

use crate::support::app::COSTLY_KIB;
use crate::support::binary::printed;
use crate::support::client::PASSWORD;
use crate::support::feed::verifier;
use crate::support::keys::kid_of;
use crate::support::program::libfaketime;
use crate::support::{TestApp, Tokens, User, claims, id, until};

const DAY: i64 = 86400;

/// How many seconds the clock of the ending process is ahead.
const SKEWS: [i64; 4] = [3600, -3600, 31 * DAY, -31 * DAY];

const NEW_PASSWORD: &str = "nine badgers polish trombones";

#[tokio::test]
async fn commands_on_a_machine_with_a_wrong_clock_take_effect() {
    let Some(library) = libfaketime() else { return };
    for skew in SKEWS {
        let (app, node) = two_nodes().await;
        let verifier = verifier(&app).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, NEW_PASSWORD).unwrap();
        let file = file.path().to_str().unwrap();
        let on_skewed = |arguments: &[&str]| {
            printed(skewed(&mut app.command(arguments), &app, skew, &library));
        };

        let mut ended = Vec::new();
        for arguments in [
            vec!["end-sessions"],
            vec!["set-password", "--password-file", file],
            vec!["disable"],
            vec!["delete", "--yes"],
        ] {
            let tokens = two_sessions(&app).await;
            let user = claims(&tokens[0].access)["sub"].as_str().unwrap().to_owned();
            on_skewed(&[&["user", arguments[0], &user], &arguments[1..]].concat());
            ended.extend(tokens);
        }
        let one = app.signed_up().await.tokens;
        on_skewed(&["session", "end", &one.session]);
        ended.push(one);

        let user = app.signed_up().await;
        let kind =
            ClientKind::Public { origins: Vec::new(), client_settings: ClientSettings::default() };
        let shop = app.client(kind).await;
        ended.push(app.log_in_to(&shop, &user.email).await.tokens());
        on_skewed(&["client", "remove", &shop.id]);
        let service = app.service(&[]).await;
        let form = [("grant_type", "client_credentials")];
        let own = app.post("/token").client(&service).form(&form).send().await.assert_status(200);
        let own = own.body["access_token"].as_str().unwrap().to_owned();
        assert!(verifier.verify(&own).is_ok());
        on_skewed(&["client", "remove", &service.id]);

        let what = format!("a command that is {skew} s ahead");
        all_refuse(&what, &[&app, &node], &verifier, &ended).await;
        until(async || verifier.verify(&own) == Err(VerifyError::Revoked)).await;
        assert!(user.me().await.status == 200, "another account goes on");

        // The old tokens have ten seconds to live.
        app.advance(590);
        purge(&app).await;
        let started = app.another_node().await;
        all_refuse(&what, &[&app, &node, &started], &verifier, &ended).await;
        for node in [&app, &started] {
            let client = id(&service.id);
            assert!(node.api.revocations.contains(client), "{what}: the client is forgotten");
        }
        assert_eq!(verifier.verify(&own).unwrap_err(), VerifyError::Revoked, "{what}");
    }
}

#[tokio::test]
async fn a_service_is_removed_by_a_wrong_clock_when_the_database_does_not_know_the_time_either() {
    let Some(library) = libfaketime() else { return };
    for skew in SKEWS {
        let (app, node) = two_nodes().await;
        let verifier = verifier(&app).await;
        let service = app.service(&[]).await;
        // Nothing is written when its tokens are issued, and nobody does anything else.
        app.advance(2 * 3600);
        let form = [("grant_type", "client_credentials")];
        let own = app.post("/token").client(&service).form(&form).send().await.assert_status(200);
        let own = own.body["access_token"].as_str().unwrap().to_owned();
        until(async || verifier.verify(&own).is_ok()).await;
        let remove = ["client", "remove", &service.id];
        printed(skewed(&mut app.command(&remove), &app, skew, &library));
        until(async || verifier.verify(&own) == Err(VerifyError::Revoked)).await;
        let client = id(&service.id);
        until(async || node.api.revocations.contains(client)).await;

        // The token has ten seconds to live.
        app.advance(590);
        purge(&app).await;
        let started = app.another_node().await;
        for node in [&app, &node, &started] {
            let is_listed = node.api.revocations.contains(client);
            assert!(is_listed, "{skew} s ahead: the client is forgotten");
        }
        assert_eq!(verifier.verify(&own), Err(VerifyError::Revoked), "{skew} s ahead");
    }
}

#[tokio::test]
async fn a_key_that_is_retired_on_a_machine_with_a_wrong_clock_signs_nothing_that_is_accepted() {
    let Some(library) = libfaketime() else { return };
    for skew in SKEWS {
        let (app, node) = two_nodes().await;
        let verifier = verifier(&app).await;
        let access = app.signed_up().await.tokens.access;
        assert!(verifier.verify(&access).is_ok());
        let kid = kid_of(&access);
        let arguments = ["key", "revoke", &kid];
        printed(skewed(&mut app.command(&arguments), &app, skew, &library));

        let key = revocation_id_of_kid(&kid).unwrap().into();
        for node in [&app, &node] {
            until(async || node.me(&access).await.status == 401).await;
        }
        until(async || verifier.verify(&access).is_err()).await;
        // A verifier may go on with keys that it fetched for a day and as long as they may be cached.
        app.advance(86400 + 600);
        purge(&app).await;
        let started = app.another_node().await;
        for node in [&app, &node, &started] {
            assert!(node.api.revocations.contains(key), "{skew} s ahead: the key is forgotten");
            node.me(&access).await.assert_status(401);
        }
    }
}

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
        // Some 150 ms each: no machine is so busy that it stores no change meanwhile.
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
    // The same password is set again and again, while the login hashes.
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

    // Nothing of it counts as a failure.
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

/// Two nodes that a verifier finds by the issuer of their tokens.
async fn two_nodes() -> (TestApp, TestApp) {
    let mut app = TestApp::with(|config| config.public_url = String::new()).await;
    // For every node that is started later.
    app.config.public_url = app.api.issuer.clone();
    let node = app.another_node().await;
    (app, node)
}

/// A session as it began, and one that was refreshed, of a new account.
async fn two_sessions(app: &TestApp) -> [Tokens; 3] {
    let user = app.signed_up().await;
    let other = user.another_session().await;
    let refreshed = app.refresh(&other.refresh).await.tokens();
    [user.tokens, other, refreshed]
}

fn skewed<'a>(
    command: &'a mut Command,
    app: &TestApp,
    skew: i64,
    library: &Path,
) -> &'a mut Command {
    let seconds = moved(app.clock.now(), skew).unix_seconds();
    let ahead = seconds - Clock::system().now().unix_seconds();
    command.env("LD_PRELOAD", library).env("FAKETIME", format!("{ahead:+}s"));
    // What waits, waits as long as ever.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

fn moved(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_micros(now.as_micros() + seconds * 1_000_000)
}

/// Every node and the verifier have heard of it, and refuse every access token and every refresh
/// token.
async fn all_refuse(what: &str, nodes: &[&TestApp], verifier: &Verifier, ended: &[Tokens]) {
    for tokens in ended {
        for node in nodes {
            until(async || node.me(&tokens.access).await.status == 401).await;
            if node.clock.now() == nodes[0].clock.now() {
                node.me(&tokens.access).await.assert_problem(401, "token_revoked");
            }
            let refused = node.refresh(&tokens.refresh).await;
            assert_eq!(refused.body["code"], "invalid_grant", "{what}: {}", refused.text);
        }
        until(async || verifier.verify(&tokens.access).is_err()).await;
        let verdict = verifier.verify(&tokens.access).unwrap_err();
        assert_eq!(verdict, VerifyError::Revoked, "{what}");
    }
}

async fn purge(app: &TestApp) {
    while app.api.revocations.purge(app.clock.now()).await.unwrap() {}
    while app.api.sessions.purge(app.clock.now()).await.unwrap() {}
    while app.api.accounts.purge().await.unwrap() {}
}
