//! A verifier of `doorward::verifier` that subscribes to the feed.

use doorward_verifier::VerifyError;

use crate::support::feed::{log_out_and_be_heard, verifier};
use crate::support::keys::{kid_of, revoke_key};
use crate::support::{TestApp, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscribed_verifier_rejects_tokens_revoked_in_every_way() {
    let app = TestApp::with(|config| config.public_url = String::new()).await;
    let verifier = verifier(&app).await;
    let ways: [fn(&crate::support::User<'_>) -> crate::support::client::Call; 4] = [
        |user| user.app.post("/logout").bearer(&user.tokens.access),
        |user| user.app.post("/logout?scope=all").bearer(&user.tokens.access),
        |user| {
            let path = format!("/sessions/{}", user.tokens.session);
            user.app.call("DELETE", &path).bearer(&user.tokens.access)
        },
        |user| user.app.post("/revoke").form(&[("token", &user.tokens.refresh)]),
    ];
    for way in ways {
        let user = app.signed_up().await;
        let said = verifier.verify_or_refetch(&user.tokens.access).await.unwrap();
        assert_eq!(said.sub.to_string(), user.id);
        assert!(way(&user).send().await.status < 300);
        until(async || verifier.verify(&user.tokens.access).is_err()).await;
        assert_eq!(verifier.verify(&user.tokens.access), Err(VerifyError::Revoked));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_verifier_rejects_revoked_tokens_from_its_first_call() {
    let app = TestApp::with(|config| config.public_url = String::new()).await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    user.log_out().await.assert_status(204);
    let verifier = verifier(&app).await;
    assert_eq!(verifier.verify(&user.tokens.access), Err(VerifyError::Revoked));
    assert!(verifier.verify(&other.access).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verifier_switches_keys_when_one_is_revoked() {
    let app = TestApp::with(|config| config.public_url = String::new()).await;
    let verifier = verifier(&app).await;
    let mut user = app.signed_up().await;
    verifier.verify_or_refetch(&user.tokens.access).await.unwrap();
    revoke_key(&app, &kid_of(&user.tokens.access)).await.unwrap();
    until(async || verifier.verify(&user.tokens.access).is_err()).await;
    user.refresh().await.assert_status(200);
    verifier.verify_or_refetch(&user.tokens.access).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_services_own_token_ends_with_the_service() {
    let app = TestApp::with(|config| config.public_url = String::new()).await;
    let verifier = verifier(&app).await;
    let service = app.service(&["read"]).await;
    let grant = [("grant_type", "client_credentials")];
    let answer = app.post("/token").client(&service).form(&grant).send().await.assert_status(200);
    let token = answer.body["access_token"].as_str().unwrap();
    let said = verifier.verify_or_refetch(token).await.unwrap();
    assert_eq!((said.client_id.as_str(), said.sid), (service.id.as_str(), None));
    let client = crate::support::id(&service.id);
    let (revocations, now) = (app.api.revocations.clone(), app.clock.now());
    app.db().write(move |tx| revocations.revoke(tx, client, now)).await.unwrap();
    until(async || verifier.verify(token).is_err()).await;
    assert_eq!(verifier.verify(token), Err(VerifyError::Revoked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscribed_verifier_learns_of_every_logout_in_time() {
    let app = TestApp::with(|config| config.public_url = String::new()).await;
    let verifier = verifier(&app).await;
    log_out_and_be_heard("the same node's", &app, &verifier).await;
}
