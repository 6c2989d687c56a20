//! The trail of security events: what is stored, who sees it, and what a flood of failures costs.

use std::collections::BTreeSet;
use std::time::Duration;

use diesel::prelude::*;
use doorward::audit::{self, EventFilter, EventKind};
use doorward::clock::Clock;
use doorward::database::schema::audit_events;
use serde_json::Value;

use crate::login::{Held, stand_in_line};
use crate::support::app::COSTLY_KIB;
use crate::support::binary::{printed, run};
use crate::support::{Answer, PASSWORD, TestApp, User, id, until};

const NEW_PASSWORD: &str = "eight walnuts paint the harbour";

async fn activity(user: &User<'_>, query: &str) -> Answer {
    let path = format!("/me/activity{query}");
    user.app.get(&path).bearer(&user.tokens.access).send().await.assert_status(200)
}

/// The events of an answer, each as its name and its detail.
fn named(answer: &Answer) -> Vec<(&str, Option<&str>)> {
    let events = answer.body["events"].as_array().unwrap();
    events.iter().map(|it| (it["event"].as_str().unwrap(), it["detail"].as_str())).collect()
}

async fn rows(app: &TestApp) -> i64 {
    app.db().read(|c| audit_events::table.count().get_result(c)).await.unwrap()
}

pub async fn stored(app: &TestApp, kind: EventKind) -> Vec<audit::AuditEntry> {
    let wanted =
        EventFilter { user: None, kind: Some(kind), since: None, before: None, limit: 1000 };
    audit::list(app.db(), wanted).await.unwrap().events
}

/// Fails to log in as each of so many accounts or none, by the domain's own door: hashes would take
/// their time.
fn fail(app: &TestApp, users: impl Iterator<Item = u128>) {
    for user in users {
        let user = (user > 0).then(|| uuid::Uuid::from_u128(user).into());
        app.api.audit.record_failure(EventKind::LoginFailed, user, "192.0.2.1");
    }
}

#[tokio::test]
async fn a_user_sees_only_their_own_events() {
    let app = TestApp::start().await;
    let mut ada = app.signed_up().await;
    let bob = app.signed_up().await;
    bob.another_session().await;
    let other = ada.another_session().await;
    let path = format!("/sessions/{}", other.session);
    app.call("DELETE", &path).bearer(&ada.tokens.access).send().await.assert_status(204);
    ada.refresh().await.assert_status(200);
    let before = ada.tokens.session.clone();
    ada.tokens = ada.change_password(PASSWORD, NEW_PASSWORD).await.tokens();
    let seen = activity(&ada, "").await;
    assert_eq!(
        named(&seen),
        [
            ("session_started", None),
            ("session_ended", Some("password_changed")),
            ("password_changed", None),
            ("session_ended", Some("ended_by_user")),
            ("session_started", None),
            ("session_started", None),
            ("account_created", None),
        ]
    );
    let events = seen.body["events"].as_array().unwrap();
    assert!(events.iter().all(|it| it["user_id"] == *ada.id && it["address"] == "127.0.0.1"));
    let sessions: Vec<&Value> = events.iter().map(|it| &it["session_id"]).collect();
    assert_eq!(*sessions[0], *ada.tokens.session);
    assert_eq!((sessions[1], sessions[3]), (&before.as_str().into(), &other.session.into()));
    assert_eq!((&events[0]["times"], &seen.body["next"]), (&1.into(), &Value::Null));
    assert_eq!(activity(&bob, "").await.body["events"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_list_comes_in_pages_without_a_gap() {
    let app = TestApp::start().await;
    let ada = app.signed_up().await;
    for _ in 0..4 {
        ada.another_session().await;
    }
    let whole = activity(&ada, "").await.body["events"].clone();
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = activity(&ada, &query).await;
        seen.extend(page.body["events"].as_array().unwrap().clone());
        pages += 1;
        let Some(next) = page.body["next"].as_str() else { break };
        query = format!("?limit=2&before={next}");
    }
    assert_eq!((pages, Value::from(seen)), (3, whole));
    for query in ["limit=0", "limit=101", "limit=-1", "limit=x", "before=x", "after=1"] {
        let refused = app.get(&format!("/me/activity?{query}")).bearer(&ada.tokens.access).send();
        refused.await.assert_problem(400, "malformed_request");
    }
}

#[tokio::test]
async fn a_failed_login_is_seen_soon_and_those_of_a_minute_are_one_event() {
    let app = TestApp::start().await;
    let ada = app.signed_up().await;
    for _ in 0..3 {
        app.log_in(&ada.email, "not the password").await.assert_status(401);
    }
    ada.change_password("not the password", NEW_PASSWORD).await.assert_status(403);
    let failed = async || activity(&ada, "?limit=1").await.body["events"][0].clone();
    until(async || failed().await["times"] == 4).await;
    assert_eq!(failed().await["event"], "login_failed");
    assert_eq!(failed().await["address"], "127.0.0.1");
    app.api.audit.flush_failures().await.unwrap();
    app.advance(61);
    app.log_in(&ada.email, "not the password").await.assert_status(401);
    until(async || failed().await["times"] == 1 && rows(&app).await == 5).await;
    app.log_in("nobody@example.com", PASSWORD).await.assert_status(401);
    app.log_in("no address at all", PASSWORD).await.assert_status(401);
    until(async || {
        let nobodys = stored(&app, EventKind::LoginFailed).await.into_iter();
        nobodys.filter(|it| it.user_id.is_none()).map(|it| it.times).sum::<i64>() == 2
    })
    .await;
    assert_eq!(rows(&app).await, 6, "both are of nobody's");
}

#[tokio::test]
async fn refusals_for_too_many_failures_and_sign_ups_for_taken_addresses_are_counted_as_well() {
    let app = TestApp::with(|config| {
        config.limits.failed_logins_per_address = 2;
        config.limits.failed_logins_per_account = 2;
    })
    .await;
    let ada = app.signed_up().await;
    for email in [&ada.email, "nobody@example.com"] {
        for _ in 0..2 {
            app.log_in(email, "not the password").await.assert_status(401);
        }
        // Ada's network is known: twice the refusal comes after a comparison, for nobody, too.
        for _ in 0..5 {
            app.log_in(email, "not the password").await.assert_status(429);
        }
    }
    for _ in 0..2 {
        ada.close("not the password").await.assert_status(403);
    }
    ada.close(PASSWORD).await.assert_status(429);
    for _ in 0..4 {
        app.register(&ada.email.to_uppercase(), PASSWORD).await.assert_status(409);
    }
    app.api.audit.flush_failures().await.unwrap();

    let times = async |kind: EventKind| {
        let of = |user: Option<&str>, events: &[audit::AuditEntry]| {
            let own = events.iter().filter(|it| it.user_id == user.map(id));
            own.map(|it| it.times).sum::<i64>()
        };
        let events = stored(&app, kind).await;
        assert!(events.iter().all(|it| it.address.as_deref() == Some("127.0.0.1")), "{events:?}");
        (of(Some(&ada.id), &events), of(None, &events))
    };
    assert_eq!(times(EventKind::LoginFailed).await, (4, 2));
    assert_eq!(times(EventKind::LoginThrottled).await, (6, 5));
    assert_eq!(times(EventKind::RegistrationRefused).await, (4, 0));
    let seen = activity(&ada, "?limit=100").await;
    for event in ["login_throttled", "registration_refused"] {
        assert!(named(&seen).contains(&(event, None)), "{event}: {:?}", named(&seen));
    }
}

#[tokio::test]
async fn a_disconnected_client_still_counts_as_a_failed_login() {
    let app = TestApp::with(|config| config.passwords.memory_kib = COSTLY_KIB).await;
    let ada = app.signed_up().await;
    let hashed = app.hashed();
    let body = serde_json::json!({ "email": ada.email, "password": "not the password" });
    let call = tokio::spawn(app.post("/login").json(&body).send());
    until(async || app.hashed() > hashed).await;
    call.abort();
    until(async || stored(&app, EventKind::LoginFailed).await.len() == 1).await;
}

#[tokio::test]
async fn a_flood_of_failures_makes_a_bounded_number_of_rows() {
    let app = TestApp::start().await;
    fail(&app, (0..100_000).map(|n| n % 5000));
    // Whatever has been stored of them in the meantime.
    app.api.audit.flush_failures().await.unwrap();
    // One is the first signing key's.
    assert_eq!(rows(&app).await, 1 + 200);
    assert_eq!(app.api.audit.dropped(), 96_000);
    let nobodys =
        stored(&app, EventKind::LoginFailed).await.into_iter().find(|it| it.user_id.is_none());
    assert_eq!(nobodys.unwrap().times, 20);
    app.advance(61);
    app.api.audit.flush_failures().await.unwrap();
    fail(&app, 6000..6001);
    app.api.audit.flush_failures().await.unwrap();
    assert_eq!(rows(&app).await, 1 + 201);
}

#[tokio::test]
async fn failures_before_a_stop_are_stored() {
    let app = TestApp::start().await;
    fail(&app, 0..150);
    let app = app.restart().await;
    assert_eq!(rows(&app).await, 1 + 150);
}

#[tokio::test]
async fn theft_logout_and_revocation_leave_their_events() {
    let app = TestApp::with(|config| config.sessions.retry_window = Duration::ZERO).await;
    let mut ada = app.signed_up().await;
    let first = ada.tokens.refresh.clone();
    ada.refresh().await.assert_status(200);
    app.refresh(&first).await.assert_ended("refresh_token_reused");
    ada.tokens = ada.another_session().await;
    let service = app.public_client().await;
    let tokens = app.log_in_to(&service, &ada.email).await.tokens();
    let form = [("token", tokens.access.as_str()), ("client_id", &service.id)];
    app.post("/revoke").form(&form).send().await.assert_status(200);
    ada.log_out_scope("others").await.assert_status(204);
    let seen = activity(&ada, "").await;
    assert_eq!(
        named(&seen),
        [
            ("session_ended", Some("logout")),
            ("access_token_revoked", None),
            ("session_started", None),
            ("session_started", None),
            ("session_ended", Some("refresh_token_reused")),
            ("refresh_token_reused", Some("generation 0, after 1 was issued")),
            ("session_started", None),
            ("account_created", None),
        ]
    );
}

#[tokio::test]
async fn a_session_that_no_one_ended_and_a_refused_login_leave_no_event() {
    let app = TestApp::start().await;
    let ada = app.signed_up().await;
    let before = rows(&app).await;
    app.register(&ada.email, PASSWORD).await.assert_status(409);
    let body = serde_json::json!({
        "email": ada.email, "password": PASSWORD, "client_id": "nobody"
    });
    app.post("/login").json(&body).send().await.assert_problem(400, "unknown_client");
    ada.log_out().await.assert_status(204);
    let logout = serde_json::json!({ "refresh_token": ada.tokens.refresh });
    app.post("/logout").json(&logout).send().await.assert_status(204);
    assert_eq!(rows(&app).await, before + 1);
}

#[tokio::test]
async fn clients_and_keys_leave_events_without_a_user() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let wrong = crate::support::Client { secret: "wrong".into(), ..service.clone() };
    app.introspect(&wrong, "x").await.assert_oauth(401, "invalid_client");
    crate::clients::remove(&app, &service).await;
    for kind in [EventKind::ClientAdded, EventKind::ClientRemoved] {
        assert_eq!(stored(&app, kind).await[0].detail.as_deref(), Some(&*service.id));
    }
    until(async || stored(&app, EventKind::ClientAuthenticationFailed).await.len() == 1).await;

    let old = app.api.keys.signing().kid().to_owned();
    let new = app.api.keys.admin().rotate().await.unwrap().kid;
    app.api.keys.admin().rotate().await.unwrap();
    for _ in 0..2 {
        app.advance(3600);
        app.api.keys.maintain().await.unwrap();
    }
    let kids = async |kind| -> Vec<String> {
        stored(&app, kind).await.into_iter().filter_map(|it| it.detail).collect()
    };
    assert_eq!(kids(EventKind::KeyPublished).await, [&*new]);
    assert_eq!(kids(EventKind::KeyRotated).await, [&*new, &*old]);
    assert_eq!(kids(EventKind::KeyRetired).await, [&*old]);
    assert_eq!(kids(EventKind::KeyRemoved).await, [&*old]);
    crate::support::keys::revoke_key(&app, &new).await.unwrap();
    assert_eq!(kids(EventKind::KeyRevoked).await, [new]);
}

#[tokio::test]
async fn closing_an_account_erases_its_addresses() {
    let app = TestApp::start().await;
    let ada = app.signed_up().await;
    app.log_in(&ada.email, "not the password").await.assert_status(401);
    app.api.audit.flush_failures().await.unwrap();
    ada.close("not the password either").await.assert_status(403);
    ada.close(PASSWORD).await.assert_status(204);
    app.api.audit.flush_failures().await.unwrap();
    let user = Some(id(&ada.id));
    let wanted = EventFilter { user, kind: None, since: None, before: None, limit: 100 };
    let events = audit::list(app.db(), wanted).await.unwrap().events;
    let names: BTreeSet<&str> = events.iter().map(|it| it.event.as_str()).collect();
    let all = ["account_closed", "account_created", "login_failed", "session_ended"];
    assert!(names.is_superset(&all.into()), "{names:?}");
    assert!(events.iter().all(|it| it.address.is_none()), "{events:?}");
}

#[tokio::test]
async fn an_address_is_not_written_back_by_a_failure_that_was_about_to_be_stored() {
    let app = TestApp::start().await;
    let ada = app.signed_up().await;
    app.log_in(&ada.email, "not the password").await.assert_status(401);
    app.api.audit.flush_failures().await.unwrap();
    let held = Held::back(&app, &ada.id).await;
    app.log_in(&ada.email, "not the password either").await.assert_status(401);
    let (closed, ()) = tokio::join!(ada.close(PASSWORD), async {
        stand_in_line(&app, 1).await;
        let (flushed, ()) = tokio::join!(app.api.audit.flush_failures(), async {
            // On PostgreSQL only the close waits.
            stand_in_line(&app, if app.is_on_postgres() { 1 } else { 2 }).await;
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
    app.api.audit.flush_failures().await.unwrap();
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
        (["--user", "nobody@example.com"], 1, "`doorward user list` shows those"),
        (["--since", "yesterday"], 1, "neither a duration nor a point in time"),
        (["--event", "login"], 2, "login_failed"),
    ] {
        let refusal = run(app.command(&["audit"]).args(arguments));
        assert_eq!(refusal.status.code(), Some(status), "{}", refusal.stderr);
        assert!(refusal.stderr.contains(says), "{}", refusal.stderr);
    }
    assert!(audit(&["--help"]).contains("doorward audit --event login_failed --since 7d"));
}
