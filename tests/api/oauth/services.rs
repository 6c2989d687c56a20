//! `client_credentials` at the token endpoint: tokens in a service's own name.

use serde_json::json;

use doorward::database::ExpectedVersion;

use crate::support::{Answer, TestApp, claims, id};

use super::{assert_active, assert_inactive, form, machine_token};

#[tokio::test]
async fn a_service_gets_a_token_whose_subject_is_the_service() {
    let app = TestApp::start().await;
    let service = app.service(&["orders:read", "orders:write"]).await;
    let answer = machine_token(&app, &service).await.assert_status(200);
    assert_eq!(answer.body["scope"], "orders:read orders:write");
    assert_eq!(answer.body["expires_in"], 600);
    assert!(answer.body.get("refresh_token").is_none());
    let token = answer.body["access_token"].as_str().unwrap();
    let claims = claims(token);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(service.id), &json!(service.id)));
    assert_eq!(claims["scope"], "orders:read orders:write");
    assert!(claims.get("sid").is_none() && claims.get("roles").is_none());
    let known = assert_active(&app, &service, token).await;
    assert_eq!((&known["scope"], known.get("sid")), (&claims["scope"], None));

    // It does not belong to an account.
    let body = json!({ "current_password": "a", "new_password": "b" });
    for call in [
        app.get("/me"),
        app.get("/sessions"),
        app.call("DELETE", "/sessions/019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75"),
        app.post("/logout"),
        app.post("/logout?scope=all"),
        app.post("/me/password").json(&body),
        app.post("/me/close").json(&json!({ "password": "a" })),
    ] {
        call.bearer(token).send().await.assert_problem(401, "invalid_token");
    }
    app.refresh(token).await.assert_ended("unknown_token");
    app.advance(600);
    assert_inactive(app.introspect(&service, token).await);
}

#[tokio::test]
async fn a_service_has_no_more_scope_than_it_was_given() {
    let app = TestApp::start().await;
    let service = app.service(&["read", "write"]).await;
    let grant = ("grant_type", "client_credentials");
    let asked =
        |scope: &str| form(&app, "/token", &[grant, ("scope", scope)]).client(&service).send();
    assert_eq!(asked("write").await.assert_status(200).body["scope"], "write");
    assert_eq!(asked("write read").await.assert_status(200).body["scope"], "write read");
    for more in ["admin", "read admin", "READ", "rea", "read  write", " read", "read\twrite"] {
        let refused = asked(more).await;
        assert_eq!(refused.status, 400, "{more:?}: {}", refused.text);
    }
    let plain = app.service(&[]).await;
    assert!(machine_token(&app, &plain).await.assert_status(200).body.get("scope").is_none());
    let asks = form(&app, "/token", &[grant, ("scope", "read")]).client(&plain).send().await;
    asks.assert_oauth(400, "invalid_scope");
}

#[tokio::test]
async fn removing_a_service_revokes_its_tokens() {
    let app = TestApp::start().await;
    let (gone, stays) = (app.service(&["a"]).await, app.service(&["a"]).await);
    let text = |answer: Answer| answer.body["access_token"].as_str().unwrap().to_owned();
    let lost = text(machine_token(&app, &gone).await);
    let kept = text(machine_token(&app, &stays).await);
    let revocations = &app.api.revocations;
    doorward::sessions::client_credentials::remove_client(
        &app.api.clients,
        revocations,
        id(&gone.id),
        ExpectedVersion::Any,
    )
    .await
    .unwrap();
    assert_inactive(app.introspect(&stays, &lost).await);
    assert_active(&app, &stays, &kept).await;
    machine_token(&app, &gone).await.assert_oauth(401, "invalid_client");
    let app = app.restart().await;
    assert_inactive(app.introspect(&stays, &lost).await);
}
