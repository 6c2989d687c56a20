//! Discovery of the issuer, and rejection of servers that are not it.

use std::time::Duration;

use doorward_verifier::{DiscoveryError, StartError, Verifier, VerifyError};
use serde_json::{Value, json};

use super::issuer::{FEED, Issuer, JWKS, METADATA, status};
use super::{builder, started, until, verdict, verifier};

#[tokio::test]
async fn settings_that_cannot_work_refuse_to_start() {
    let issuer = Issuer::start().await;
    let bare = || Verifier::builder(&issuer.url);
    assert_eq!(bare().client("a", "b").start().await.unwrap_err(), StartError::Audience);
    assert_eq!(bare().audience("a").start().await.unwrap_err(), StartError::Client);
    let hasty = builder(&issuer).max_staleness(Duration::from_secs(4));
    assert_eq!(hasty.start().await.unwrap_err(), StartError::MaxStaleness);
    for (url, error) in [
        ("login.example.com", StartError::Issuer),
        ("https://login.example.com?a", StartError::Issuer),
        ("http://login.example.com", StartError::PlainHttp),
    ] {
        let start = Verifier::builder(url).audience("a").client("b", "c").start();
        assert_eq!(start.await.unwrap_err(), error, "{url}");
    }
}

#[tokio::test]
async fn metadata_of_another_issuer_are_refused() {
    let issuer = Issuer::start().await;
    for found in [format!("{}/", issuer.url), issuer.url.replace("http", "https"), "x".into()] {
        issuer.set(|state| state.metadata.insert("issuer", json!(found)));
        let expected = issuer.url.clone();
        let error = builder(&issuer).start().await.unwrap_err();
        assert_eq!(error, StartError::Discovery(DiscoveryError::Issuer { expected, found }));
    }
    assert!(issuer.requests(JWKS).is_empty() && issuer.requests(FEED).is_empty());
}

#[tokio::test]
async fn endpoints_on_another_origin_are_refused() {
    let issuer = Issuer::start().await;
    let port = issuer.url.rsplit_once(':').unwrap().1;
    for name in ["jwks_uri", "doorward_revocations_endpoint"] {
        for url in [
            "https://evil.example/keys".to_owned(),
            "http://127.0.0.1:1/keys".to_owned(),
            format!("https://127.0.0.1:{port}/keys"),
            format!("http://localhost:{port}/keys"),
            format!("http://127.0.0.1:{port}@evil.example/keys"),
            format!("http://user:word@127.0.0.1:{port}/keys"),
            "/keys".to_owned(),
            "file:///etc/passwd".to_owned(),
        ] {
            issuer.set(|state| state.metadata.insert(name, json!(url)));
            let error = builder(&issuer).start().await.unwrap_err();
            assert_eq!(error, StartError::Discovery(DiscoveryError::CrossOrigin(name)), "{url}");
        }
        issuer.set(|state| state.metadata.insert(name, Value::Null));
        let error = builder(&issuer).start().await.unwrap_err();
        assert_eq!(error, StartError::Discovery(DiscoveryError::Missing(name)));
        issuer.set(|state| state.metadata.clear());
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let issuer = Issuer::start().await;
    let elsewhere = Issuer::start().await;
    for path in [METADATA, JWKS, FEED] {
        let redirect = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}{path}\r\nConnection: close\r\n\
             Content-Length: 0\r\n\r\n",
            elsewhere.url
        );
        issuer.set(|state| state.answers.insert(path, redirect));
        let verifier = builder(&issuer).start().await.unwrap();
        until(|| verifier.last_error().is_some_and(|text| text.contains("307"))).await;
        assert!(!verifier.is_ready());
        issuer.set(|state| state.answers.clear());
        verifier.ready().await;
    }
    assert!(elsewhere.requests(METADATA).is_empty());
    assert!(elsewhere.requests(JWKS).is_empty() && elsewhere.requests(FEED).is_empty());
}

#[tokio::test]
async fn an_issuer_that_comes_late_is_waited_for() {
    let issuer = Issuer::start().await;
    let token = issuer.token();
    issuer.cut();
    let verifier = builder(&issuer).start().await.unwrap();
    assert_eq!(verdict(&verifier, &token), Err(VerifyError::NotReady));
    assert_eq!(verifier.staleness(), Duration::MAX);
    assert!(verifier.last_error().is_some());
    issuer.back();
    verifier.ready().await;
    assert_eq!(verdict(&verifier, &token), Ok(()));
    until(|| verifier.last_error().is_none()).await;
}

#[tokio::test]
async fn huge_or_malformed_documents_are_rejected() {
    let issuer = Issuer::start().await;
    let huge = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", " ".repeat(3_000_000));
    let senseless = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[]".to_owned();
    for path in [METADATA, JWKS] {
        for answer in [huge.clone(), senseless.clone(), status("500 Oh")] {
            issuer.set(|state| state.answers.insert(path, answer));
            let verifier = builder(&issuer).start().await.unwrap();
            until(|| verifier.last_error().is_some()).await;
            assert!(!verifier.is_ready());
            issuer.set(|state| state.answers.clear());
            verifier.ready().await;
        }
    }
}

#[tokio::test]
async fn a_wrong_secret_is_reported_as_wrong() {
    let issuer = Issuer::start().await;
    let verifier = builder(&issuer).client("billing", "wrong").start().await.unwrap();
    until(|| verifier.last_error().is_some_and(|text| text.contains("client's id and secret")))
        .await;
    assert_eq!(verdict(&verifier, &issuer.token()), Err(VerifyError::NotReady));
}

#[tokio::test]
async fn the_issuer_may_have_a_path_or_a_slash() {
    let issuer = Issuer::start().await;
    let name = format!("{}/", issuer.url);
    issuer.set(|state| state.metadata.insert("issuer", json!(name)));
    let slashed = Verifier::builder(&name).audience("orders").clock(issuer.clock.clone());
    let verifier = started(slashed.client(super::CLIENT.0, super::CLIENT.1)).await;
    let mut claims = issuer.claims();
    assert!(verdict(&verifier, &issuer.sign(&claims)).is_err());
    claims.iss = name;
    assert_eq!(verdict(&verifier, &issuer.sign(&claims)), Ok(()));
}

#[tokio::test]
async fn the_tasks_end_with_the_last_clone() {
    let issuer = Issuer::start().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let verifier = verifier(&issuer).await;
    let clone = verifier.clone();
    drop(verifier);
    issuer.drop_connections();
    until(|| issuer.requests(FEED).len() == 2).await;
    assert!(tasks() > before);
    drop(clone);
    issuer.drop_connections();
    until(|| tasks() == before).await;
}
