//! The list of revoked ids, as one answer.

use std::collections::BTreeSet;

use crate::support::keys::{kid_of, revoke_key};
use crate::support::{Client, TestApp, claims};

use super::revoke_many;

#[tokio::test]
async fn the_list_requires_client_authentication() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let user = app.signed_up().await;
    let get = || app.get("/revocations");
    get().send().await.assert_problem(401, "invalid_client");
    get().bearer(&user.tokens.access).send().await.assert_problem(401, "invalid_client");
    let wrong = Client { secret: app.service(&[]).await.secret, ..service.clone() };
    get().client(&wrong).send().await.assert_problem(401, "invalid_client");
    let app_without_secret = app.public_client().await;
    get().client(&app_without_secret).send().await.assert_problem(401, "invalid_client");
    get().client(&service).send().await.assert_status(200);
}

#[tokio::test]
async fn the_list_has_the_ids_of_tokens() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let user = app.signed_up().await;
    let (other, third) = (user.another_session().await, user.another_session().await);
    assert_eq!(listed(&app, &service).await, BTreeSet::new());

    user.log_out().await.assert_status(204);
    let alone = [("token", other.access.as_str())];
    app.post("/revoke").form(&alone).send().await.assert_status(200);
    let kid = kid_of(&third.access);
    revoke_key(&app, &kid).await.unwrap();
    let jti = claims(&other.access)["jti"].as_str().unwrap().to_owned();
    let expected = BTreeSet::from([user.tokens.session.clone(), jti, kid]);
    assert_eq!(listed(&app, &service).await, expected);

    // Until the last token that it concerns has expired.
    let answer = app.get("/revocations").client(&service).send().await;
    for entry in answer.body["revoked"].as_array().unwrap() {
        let exp = entry["exp"].as_i64().unwrap();
        assert!(exp >= claims(&third.access)["exp"].as_i64().unwrap() + 30, "{entry}");
    }
}

#[tokio::test]
async fn a_list_that_is_known_is_not_sent_again() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let user = app.signed_up().await;
    let get = || app.get("/revocations").client(&service);
    let first = get().send().await;
    assert_eq!(first.header("content-length"), Some(&*first.text.len().to_string()));
    let etag = first.header("etag").unwrap().to_owned();
    let again = get().header("if-none-match", &etag).send().await.assert_status(304);
    assert!(again.header("doorward-age").is_some());
    user.log_out().await.assert_status(204);
    get().header("if-none-match", &etag).send().await.assert_status(200);
}

#[tokio::test]
async fn a_long_list_is_always_complete() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    assert_eq!(listed(&app, &service).await.len(), 0);
    // A copy is used for a while, and the log has the additions since: fewer, and more, than it
    // holds.
    let mut count = 0;
    for more in [1, 149, 1200, 4000, 6000, 1] {
        revoke_many(&app, count, more).await;
        count += more;
        assert_eq!(listed(&app, &service).await.len(), usize::try_from(count).unwrap());
    }
}

async fn listed(app: &TestApp, service: &Client) -> BTreeSet<String> {
    let answer = app.get("/revocations").client(service).send().await.assert_status(200);
    let entries = answer.body["revoked"].as_array().unwrap();
    entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}
