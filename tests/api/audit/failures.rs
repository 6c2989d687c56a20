//! Failed logins, summed by account and minute.

use doorward::audit::{self, EventKind};

use crate::support::app::COSTLY_KIB;
use crate::support::{PASSWORD, TestApp, id, until};

use super::{NEW_PASSWORD, activity, named, rows, stored};

/// Fails to log in as each of this many accounts or as none, by the domain's own method: hashes
/// would take too long.
fn fail(app: &TestApp, users: impl Iterator<Item = u128>) {
    for user in users {
        let user = (user > 0).then(|| uuid::Uuid::from_u128(user).into());
        app.api.audit.record_failure(EventKind::LoginFailed, user, "192.0.2.1");
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
    app.api.audit.write_aggregates().await.unwrap();
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
    assert_eq!(rows(&app).await, 6, "both have no account");
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
        // Ada's network is known: two of the refusals follow a comparison, for unknown addresses,
        // too.
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
    app.api.audit.write_aggregates().await.unwrap();

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
    // Stores the events that are still in memory.
    app.api.audit.write_aggregates().await.unwrap();
    // One is the first signing key's.
    assert_eq!(rows(&app).await, 1 + 200);
    assert_eq!(app.api.audit.dropped(), 96_000);
    let nobodys =
        stored(&app, EventKind::LoginFailed).await.into_iter().find(|it| it.user_id.is_none());
    assert_eq!(nobodys.unwrap().times, 20);
    app.advance(61);
    app.api.audit.write_aggregates().await.unwrap();
    fail(&app, 6000..6001);
    app.api.audit.write_aggregates().await.unwrap();
    assert_eq!(rows(&app).await, 1 + 201);
}

#[tokio::test]
async fn failures_before_a_stop_are_stored() {
    let app = TestApp::start().await;
    fail(&app, 0..150);
    let app = app.restart().await;
    assert_eq!(rows(&app).await, 1 + 150);
}
