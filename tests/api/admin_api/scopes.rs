//! Each operation takes exactly one scope, in the token and in the client's row.

use doorward::clients::ClientChange;
use doorward::database::ExpectedVersion;

use crate::support::{TestApp, id};

use super::{Operation, SCOPES, operations, start, token, token_of};

async fn assert_lacks(app: &TestApp, operation: &Operation, token: &str) {
    let answer = operation.call(app).bearer(token).send().await;
    let answer = answer.assert_problem(403, "insufficient_scope");
    assert!(answer.header("www-authenticate").unwrap().contains("insufficient_scope"));
}

#[tokio::test]
async fn every_operation_refuses_every_other_scope_a_users_token_and_none() {
    let app = start().await;
    let ada = app.signed_up().await;
    let mut tokens = Vec::new();
    for scope in SCOPES {
        tokens.push((scope, token(&app, &[scope]).await));
    }
    let unrelated = token(&app, &["orders:read"]).await;
    for operation in operations() {
        for (scope, token) in &tokens {
            if *scope == operation.scope {
                let answer = operation.call(&app).bearer(token).send().await;
                assert!(!matches!(answer.status, 401 | 403), "{}", answer.text);
            } else {
                assert_lacks(&app, &operation, token).await;
            }
        }
        assert_lacks(&app, &operation, &unrelated).await;
        assert_lacks(&app, &operation, &ada.tokens.access).await;
        operation.call(&app).send().await.assert_problem(401, "missing_token");
        // Not even a broken body is read before.
        let broken = app.call(&operation.method, &operation.path).body("application/json", "{");
        broken.bearer(&unrelated).send().await.assert_problem(403, "insufficient_scope");
    }
}

#[tokio::test]
async fn a_scope_that_was_taken_away_is_gone_at_once() {
    let app = start().await;
    let desk = app.service(&["doorward:users.read", "doorward:users.write"]).await;
    let token = token_of(&app, &desk).await;
    let list = || app.get("/admin/users").bearer(&token).send();
    list().await.assert_status(200);
    let scopes = Some(vec!["doorward:users.write".to_owned()]);
    let change = ClientChange { scopes, ..ClientChange::default() };
    app.api.clients.change(id(&desk.id), change, ExpectedVersion::Any).await.unwrap();
    list().await.assert_problem(403, "insufficient_scope");
    crate::clients::remove(&app, &desk).await.unwrap();
    list().await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn the_admin_api_is_off_by_default() {
    let app = TestApp::start().await;
    let token = token(&app, &SCOPES).await;
    let answer = app.http.get(app.url("/admin/users")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(answer.status(), 404);
}
