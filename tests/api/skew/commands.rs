//! Commands on a machine with a wrong clock.

use std::fs;
use std::path::Path;
use std::process::Command;

use doorward::clients::{ClientKind, ClientSettings};
use doorward::clock::Clock;
use doorward::tokens::revocation_id_of_kid;
use doorward_verifier::VerifyError;

use crate::support::binary::printed;
use crate::support::feed::verifier;
use crate::support::keys::kid_of;
use crate::support::program::libfaketime;
use crate::support::{TestApp, Tokens, claims, id, until};

use super::{NEW_PASSWORD, SKEWS, all_refuse, moved, purge, two_nodes};

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
            vec!["set-email", "moved@example.org"],
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

        let what = format!("a command {skew} s ahead");
        all_refuse(&what, &[&app, &node], &verifier, &ended).await;
        until(async || verifier.verify(&own) == Err(VerifyError::Revoked)).await;
        assert!(user.me().await.status == 200, "another account is not affected");

        // The old tokens are valid for ten more seconds.
        app.advance(590);
        purge(&app).await;
        let started = app.another_node().await;
        all_refuse(&what, &[&app, &node, &started], &verifier, &ended).await;
        for node in [&app, &started] {
            let client = id(&service.id);
            assert!(node.api.revocations.contains(client), "{what}: the client has been purged");
        }
        assert_eq!(verifier.verify(&own).unwrap_err(), VerifyError::Revoked, "{what}");
    }
}

#[tokio::test]
async fn a_command_with_a_wrong_clock_removes_a_service_although_the_database_has_no_recent_time() {
    let Some(library) = libfaketime() else { return };
    for skew in SKEWS {
        let (app, node) = two_nodes().await;
        let verifier = verifier(&app).await;
        let service = app.service(&[]).await;
        // Issuing its tokens writes nothing, and no other request is made.
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

        // The token expires in ten seconds.
        app.advance(590);
        purge(&app).await;
        let started = app.another_node().await;
        for node in [&app, &node, &started] {
            let is_listed = node.api.revocations.contains(client);
            assert!(is_listed, "{skew} s ahead: the client's revocation is purged");
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
        // A verifier may use fetched keys for a day beyond their cache lifetime.
        app.advance(86400 + 600);
        purge(&app).await;
        let started = app.another_node().await;
        for node in [&app, &node, &started] {
            assert!(node.api.revocations.contains(key), "{skew} s ahead: the key has been purged");
            node.me(&access).await.assert_status(401);
        }
    }
}

/// A new session, and a refreshed one, of a new account.
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
    // Waits are not affected.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}
