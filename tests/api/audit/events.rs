//! Which event each operation leaves.

use std::time::Duration;

use doorward::audit::EventKind;

use crate::support::{PASSWORD, TestApp, until};

use super::{activity, named, rows, stored};

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
async fn rejected_requests_and_a_repeated_logout_record_no_event() {
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
