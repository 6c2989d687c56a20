//! Revocation (RFC 7009).

use crate::support::TestApp;

use super::{assert_active, assert_inactive, form, machine_token, revoke};

#[tokio::test]
async fn a_revoked_refresh_token_ends_its_session_and_every_access_token_of_it() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let service = app.service(&[]).await;
    let old = user.tokens.clone();
    user.refresh().await.assert_status(200);
    let kept = user.another_session().await;
    // Any of its generations is accepted.
    let answer = revoke(&app, &old.refresh).await.assert_status(200);
    assert_eq!(answer.text, "");
    for access in [&old.access, &user.tokens.access] {
        app.me(access).await.assert_problem(401, "token_revoked");
        assert_inactive(app.introspect(&service, access).await);
    }
    app.refresh(&user.tokens.refresh).await.assert_ended("logout");
    app.me(&kept.access).await.assert_status(200);
    revoke(&app, &old.refresh).await.assert_status(200);
    let (access, refresh) = (user.tokens.access.clone(), user.tokens.refresh.clone());
    let app = app.restart().await;
    app.me(&access).await.assert_problem(401, "token_revoked");
    app.refresh(&refresh).await.assert_ended("logout");
}

#[tokio::test]
async fn revoking_an_access_token_affects_no_other_token() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let sibling = app.refresh(&user.tokens.refresh).await.tokens();
    for hint in ["access_token", "refresh_token", "urn:other"] {
        let hinted = [("token", user.tokens.access.as_str()), ("token_type_hint", hint)];
        form(&app, "/revoke", &hinted).send().await.assert_status(200);
    }
    app.me(&user.tokens.access).await.assert_problem(401, "token_revoked");
    app.me(&sibling.access).await.assert_status(200);
    app.refresh(&sibling.refresh).await.assert_status(200);
    let service = app.service(&["a"]).await;
    let machine = machine_token(&app, &service).await.body["access_token"].clone();
    let machine = machine.as_str().unwrap();
    form(&app, "/revoke", &[("token", machine)]).client(&service).send().await.assert_status(200);
    assert_inactive(app.introspect(&service, machine).await);
    let access = user.tokens.access.clone();
    let app = app.restart().await;
    app.me(&access).await.assert_problem(401, "token_revoked");
    assert_inactive(app.introspect(&service, machine).await);
}

#[tokio::test]
async fn a_client_cannot_revoke_another_clients_token() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (shop, service) = (app.public_client().await, app.service(&["a"]).await);
    let tokens = app.log_in_to(&shop, &user.email).await.tokens();
    let machine = machine_token(&app, &service).await.body["access_token"].clone();
    for token in [&tokens.access, &tokens.refresh, machine.as_str().unwrap()] {
        revoke(&app, token).await.assert_oauth(400, "invalid_grant");
        let named = [("token", token), ("client_id", "doorward")];
        form(&app, "/revoke", &named).send().await.assert_oauth(400, "invalid_grant");
        let unknown = [("token", token), ("client_id", "nobody")];
        form(&app, "/revoke", &unknown).send().await.assert_oauth(400, "invalid_client");
        assert_active(&app, &service, token).await;
    }
    let proven = form(&app, "/revoke", &[("token", &tokens.refresh)]).client(&service);
    proven.send().await.assert_oauth(400, "invalid_grant");
    // Its id alone is not a proof.
    let named = [("token", machine.as_str().unwrap()), ("client_id", &service.id)];
    form(&app, "/revoke", &named).send().await.assert_oauth(400, "invalid_client");
    assert_active(&app, &service, machine.as_str().unwrap()).await;
    app.me(&tokens.access).await.assert_status(200);
    let own = [("token", tokens.refresh.as_str()), ("client_id", &shop.id)];
    form(&app, "/revoke", &own).send().await.assert_status(200);
    app.me(&tokens.access).await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn revoking_an_invalid_token_succeeds_without_effect() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (access, refresh) = (&user.tokens.access, &user.tokens.refresh);
    for token in [
        "x",
        "dwr_",
        "a.b.c",
        &user.tokens.session,
        &format!("{refresh}A"),
        &refresh[..refresh.len() - 1],
        &access[..access.len() - 4],
    ] {
        assert_eq!(revoke(&app, token).await.assert_status(200).text, "", "{token}");
        let unknown = [("token", token), ("client_id", "nobody")];
        form(&app, "/revoke", &unknown).send().await.assert_oauth(400, "invalid_client");
    }
    app.me(access).await.assert_status(200);
    app.refresh(refresh).await.assert_status(200);
    app.advance(600);
    revoke(&app, access).await.assert_status(200);
    revoke(&app, "").await.assert_oauth(400, "invalid_request");
}
