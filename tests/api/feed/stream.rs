//! The list as a stream of events.

use std::collections::BTreeSet;
use std::time::Duration;

use doorward::revocations::feed::MAX_SUBSCRIBERS;
use reqwest::Response;
use serde_json::Value;

use crate::support::{Client, TestApp};

#[tokio::test]
async fn a_subscriber_gets_the_list_and_then_the_additions() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    user.log_out().await.assert_status(204);

    let mut stream = Stream::open(&app, &service, None).await;
    let first = stream.next().await;
    assert_eq!((first.name.as_str(), first.ids()), ("snapshot", vec![user.tokens.session.clone()]));
    let current = stream.next().await;
    assert_eq!(current.name, "current");
    assert!(current.data["age"].as_f64().unwrap() < 5.0);

    app.post("/logout").bearer(&other.access).send().await.assert_status(204);
    let added = stream.skip_current().await;
    assert_eq!((added.name.as_str(), added.ids()), ("revoked", vec![other.session.clone()]));

    // And reports at least every 5 s that this is all.
    let told = tokio::time::timeout(Duration::from_secs(5), stream.next()).await.unwrap();
    assert_eq!(told.name, "current");
    assert!(told.id > current.id, "{told:?}");
}

#[tokio::test]
async fn a_reconnecting_subscriber_gets_the_missed_entries_or_the_whole_list() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    user.log_out().await.assert_status(204);
    let mut stream = Stream::open(&app, &service, None).await;
    stream.next().await;
    let last = stream.next().await.id.unwrap();
    drop(stream);

    app.post("/logout").bearer(&other.access).send().await.assert_status(204);
    let mut resumed = Stream::open(&app, &service, Some(&last)).await;
    let missed = resumed.next().await;
    assert_eq!((missed.name.as_str(), missed.ids()), ("revoked", vec![other.session.clone()]));
    assert_eq!(resumed.next().await.name, "current");

    for unknown in ["0123456789abcdef.0", "x", "", "0123456789abcdef.99999999999999999999"] {
        let mut anew = Stream::open(&app, &service, Some(unknown)).await;
        let first = anew.next().await;
        assert_eq!(first.name, "snapshot", "{unknown}");
        let mut all = BTreeSet::from_iter(first.ids());
        let mut next = anew.next().await;
        while next.name != "current" {
            all.extend(next.ids());
            next = anew.next().await;
        }
        assert_eq!(all, BTreeSet::from([user.tokens.session.clone(), other.session.clone()]));
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_client() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let mut stream = Stream::open(&app, &service, None).await;
    stream.next().await;
    let client = crate::support::id(&service.id);
    let (revocations, now) = (app.api.revocations.clone(), app.clock.now());
    app.db().write(move |tx| revocations.revoke(tx, client, now)).await.unwrap();
    let rest = tokio::time::timeout(Duration::from_secs(20), stream.response.bytes()).await;
    let rest = rest.expect("the stream ends").unwrap();
    assert!(rest.ends_with(b"retry: 500\n\n"), "{rest:?}");
}

#[tokio::test]
async fn a_subscriber_beyond_the_limit_is_told_to_retry() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let mut others: Vec<_> =
        (0..MAX_SUBSCRIBERS).map(|_| app.api.revocations.subscribe(None)).collect();
    assert_eq!(app.api.revocations.subscribers(), MAX_SUBSCRIBERS);
    let follow = || app.get("/revocations").client(&service).header("accept", "text/event-stream");
    let refused = follow().send().await.assert_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("10"));
    app.get("/revocations").client(&service).send().await.assert_status(200);
    others.pop();
    let request = app.http.get(app.url("/revocations")).header("accept", "text/event-stream");
    let feed = request.basic_auth(&service.id, Some(&service.secret)).send().await.unwrap();
    assert_eq!(feed.status(), 200);
}

#[tokio::test]
async fn a_head_request_for_the_stream_completes() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let head = app.call("HEAD", "/revocations").client(&service);
    let answer = head.header("accept", "text/event-stream").send().await.assert_status(200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.text, "");
}

/// One event of the stream.
#[derive(Debug)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

impl Event {
    fn ids(&self) -> Vec<String> {
        let entries = self.data.as_array().unwrap();
        entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// A minimal parser of the stream.
struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    async fn open(app: &TestApp, service: &Client, last: Option<&str>) -> Self {
        let mut request = app
            .http
            .get(app.url("/revocations"))
            .basic_auth(&service.id, Some(&service.secret))
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, text: String::new() }
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim_start().to_owned())
                };
                let event = Event {
                    name: field("event:").unwrap(),
                    id: field("id:"),
                    data: serde_json::from_str(&field("data:").unwrap()).unwrap(),
                };
                self.text = rest;
                return event;
            }
            let chunk = self.response.chunk().await.unwrap().expect("the stream continues");
            self.text.push_str(str::from_utf8(&chunk).unwrap());
        }
    }

    async fn skip_current(&mut self) -> Event {
        loop {
            let event = self.next().await;
            if event.name != "current" {
                return event;
            }
        }
    }
}
