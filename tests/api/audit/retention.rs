//! Closed accounts, old events, and the command that finds them.

use std::collections::BTreeSet;
use std::time::Duration;

use doorward::audit::{self, EventFilter, EventKind};
use doorward::clock::Clock;
use serde_json::Value;

use crate::login::{BlockedChanges, wait_until_queued};
use crate::support::binary::{printed, run};
use crate::support::{PASSWORD, TestApp, id};

use super::{rows, stored};

#[tokio::test]
async fn closing_an_account_erases_its_addresses() {
    let app = TestApp::start().await;
    let ada = app.signed_up().await;
    app.log_in(&ada.email, "not the password").await.assert_status(401);
    app.api.audit.write_aggregates().await.unwrap();
    ada.close("not the password either").await.assert_status(403);
    ada.close(PASSWORD).await.assert_status(204);
    app.api.audit.write_aggregates().await.unwrap();
    let user = Some(id(&ada.id));
    let wanted = EventFilter { user, kind: None, since: None, before: None, limit: 100 };
    let events = audit::list(app.db(), wanted).await.unwrap().events;
    let names: BTreeSet<&str> = events.iter().map(|it| it.event.as_str()).collect();
    let all = ["account_closed", "account_created", "login_failed", "session_ended"];
    assert!(names.is_superset(&all.into()), "{names:?}");
    assert!(events.iter().all(|it| it.address.is_none()), "{events:?}");
}

#[tokio::test]
async fn a_pending_failure_does_not_restore_an_erased_address() {
    let app = TestApp::start().await;
    let ada = app.signed_up().await;
    app.log_in(&ada.email, "not the password").await.assert_status(401);
    app.api.audit.write_aggregates().await.unwrap();
    let held = BlockedChanges::back(&app, &ada.id).await;
    app.log_in(&ada.email, "not the password either").await.assert_status(401);
    let (closed, ()) = tokio::join!(ada.close(PASSWORD), async {
        wait_until_queued(&app, 1).await;
        let (flushed, ()) = tokio::join!(app.api.audit.write_aggregates(), async {
            // On PostgreSQL only the close waits.
            wait_until_queued(&app, if app.is_on_postgres() { 1 } else { 2 }).await;
            held.release();
        });
        flushed.unwrap();
    });
    closed.assert_status(204);
    let failed = stored(&app, EventKind::LoginFailed).await;
    assert_eq!(failed.iter().map(|it| it.times).sum::<i64>(), 2);
    assert!(failed.iter().all(|it| it.address.is_none()), "{failed:?}");
}

#[tokio::test]
async fn a_deletion_erases_addresses_that_no_node_has_written_yet() {
    let app = TestApp::start().await;
    let node = app.another_node().await;
    let [ada, bea] = [app.signed_up().await, app.signed_up().await];
    for user in [&ada, &bea] {
        for node in [&app, &node] {
            node.log_in(&user.email, "not the password").await.assert_status(401);
        }
    }
    ada.close(PASSWORD).await.assert_status(204);
    assert!(app.admin().delete(id(&bea.id)).await.unwrap().changed);
    for node in [&app, &node] {
        node.api.audit.write_aggregates().await.unwrap();
    }
    let failed = stored(&app, EventKind::LoginFailed).await;
    assert_eq!(failed.len(), 4, "{failed:?}");
    assert!(failed.iter().all(|it| it.address.is_none()), "{failed:?}");
}

#[tokio::test]
async fn old_events_are_purged_in_batches() {
    let app = TestApp::with(|config| config.audit.retention = Duration::from_secs(86_400)).await;
    let ada = app.signed_up().await;
    let now = app.clock.now();
    let events = vec![audit::Event::new(EventKind::ClientAdded); 1200];
    let events = app.db().write(move |tx| audit::record_all(tx, events.clone(), now));
    events.await.unwrap();
    app.advance(86_399);
    assert!(!app.api.audit.purge(app.clock.now()).await.unwrap());
    ada.another_session().await;
    app.advance(2);
    let mut batches = 1;
    while app.api.audit.purge(app.clock.now()).await.unwrap() {
        batches += 1;
    }
    assert_eq!((batches, rows(&app).await), (3, 1));
}

#[tokio::test]
async fn the_command_finds_events_by_account_name_and_time() {
    let app = TestApp::start().await;
    app.clock.advance(Clock::system().now().since(app.clock.now()));
    let (ada, bob) = (app.signed_up().await, app.signed_up().await);
    app.log_in(&ada.email, "not the password").await.assert_status(401);
    app.api.audit.write_aggregates().await.unwrap();
    let audit = |arguments: &[&str]| printed(app.command(&["audit"]).args(arguments));
    let found = |arguments: &[&str]| -> Vec<Value> {
        let text = audit(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap()
    };
    let of_ada = found(&["--user", &ada.email.to_uppercase()]);
    assert_eq!(of_ada.len(), 3);
    assert!(of_ada.iter().all(|event| event["user_id"] == *ada.id));
    assert_eq!(found(&["--user", &ada.id]), of_ada);
    assert_eq!(found(&["--event", "login_failed"]), of_ada[..1]);
    assert_eq!(found(&["--user", &bob.id, "--limit", "1"]).len(), 1);
    assert_eq!(found(&["--user", &ada.id, "--since", "1h"]), of_ada);
    let later = app.clock.now().plus(Duration::from_secs(60)).to_string();
    assert_eq!(found(&["--since", &later]), [Value::Null; 0]);
    assert_eq!(found(&["--since", "2020-01-01"]), found(&[]));

    let line = format!("  login_failed  user {}  from 127.0.0.1\n", ada.id);
    assert!(audit(&[]).contains(&line), "{}", audit(&[]));
    for (arguments, status, says) in [
        (["--user", "nobody@example.com"], 1, "`doorward user list` shows the existing ones"),
        (["--since", "yesterday"], 1, "neither a duration nor a point in time"),
        (["--event", "login"], 2, "login_failed"),
    ] {
        let refusal = run(app.command(&["audit"]).args(arguments));
        assert_eq!(refusal.status.code(), Some(status), "{}", refusal.stderr);
        assert!(refusal.stderr.contains(says), "{}", refusal.stderr);
    }
    assert!(audit(&["--help"]).contains("doorward audit --event login_failed --since 7d"));
}
