//! The feed of revocations, as a service that verifies tokens by itself follows it.

use std::collections::BTreeSet;
use std::time::Duration;

use doorward::database::Id;
use doorward::revocations::feed::{FeedEvent, MAX_SUBSCRIBERS, RevocationEntry};
use doorward_verifier::VerifyError;
use reqwest::Response;
use serde_json::Value;

use crate::logout::of_server;
use crate::support::feed::{log_out_and_be_heard, looked_again, verifier};
use crate::support::keys::{kid_of, revoke_key};
use crate::support::{Client, TestApp, claims, until};

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
    // A copy serves for a while, and the log says what came since: less, and more, than it holds.
    let mut count = 0;
    for more in [1, 149, 1200, 4000, 6000, 1] {
        revoke_many(&app, count, more).await;
        count += more;
        assert_eq!(listed(&app, &service).await.len(), usize::try_from(count).unwrap());
    }
}

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

    // And says at least every 5 s that this is all.
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
async fn the_head_of_a_stream_has_an_end() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let head = app.call("HEAD", "/revocations").client(&service);
    let answer = head.header("accept", "text/event-stream").send().await.assert_status(200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.text, "");
}

#[tokio::test]
async fn a_purge_tells_nothing_as_new() {
    let app = TestApp::start().await;
    revoke_many(&app, 0, 1200).await;
    let mut subscription = app.api.revocations.subscribe(None);
    while !is_current(subscription.next().await.as_ref()) {}
    let before = subscription.cursor();
    app.advance(600 + 30 + 60 + 1 + of_server(&app));
    while app.api.revocations.purge(app.clock.now()).await.unwrap() {
        looked_again(&app).await;
    }
    looked_again(&app).await;
    assert!(is_current(subscription.next().await.as_ref()));
    assert_eq!(subscription.cursor(), before);
    // Nor to whoever comes now.
    assert_eq!(app.api.revocations.snapshot().piece(0, 1).count(), 0);
}

#[tokio::test]
async fn a_slow_subscriber_is_disconnected_without_delaying_others() {
    let app = TestApp::start().await;
    let revocations = app.api.revocations.clone();
    let mut slow = revocations.subscribe(None);
    let mut quick = revocations.subscribe(None);
    for one in [&mut slow, &mut quick] {
        assert!(is_current(one.next().await.as_ref()));
    }
    let mut heard = 0;
    for batch in 0..11_u128 {
        revoke_many(&app, batch * 1000, 1000).await;
        while batch == 8 && heard < 9000 {
            heard += entries(&quick.next().await.unwrap()).len();
        }
    }
    while heard < 11_000 {
        heard += entries(&quick.next().await.unwrap()).len();
    }
    // Everything has been told, so what it missed is not at hand any more.
    assert!(slow.next().await.is_none(), "it has to begin anew");
    let mut anew = revocations.subscribe(Some(&slow.cursor()));
    let mut all = BTreeSet::new();
    while all.len() < 11_000 {
        all.extend(entries(&anew.next().await.unwrap()).iter().map(|entry| entry.id));
    }
    let last = anew.next().await;
    assert!(is_current(last.as_ref()) && entries(&last.unwrap()).is_empty());
}

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
async fn a_verifier_that_starts_fresh_refuses_from_its_first_answer() {
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
async fn a_subscribed_verifier_hears_of_every_logout_in_time() {
    let app = TestApp::with(|config| config.public_url = String::new()).await;
    let verifier = verifier(&app).await;
    log_out_and_be_heard("the same node's", &app, &verifier).await;
}

async fn listed(app: &TestApp, service: &Client) -> BTreeSet<String> {
    let answer = app.get("/revocations").client(service).send().await.assert_status(200);
    let entries = answer.body["revoked"].as_array().unwrap();
    entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

/// So many revocations, a thousand in a unit of work.
async fn revoke_many(app: &TestApp, first: u128, count: u128) {
    let id = |number| Id::from(uuid::Uuid::from_u128((0x7000 << 64) | (1 << 100) | number));
    let now = app.clock.now();
    let all: Vec<_> = (first..first + count).map(|number| (id(number), now)).collect();
    for unit in all.chunks(1000) {
        let (revocations, unit) = (app.api.revocations.clone(), unit.to_vec());
        let unit = app.db().write(move |tx| revocations.revoke_all(tx, unit.iter().copied(), now));
        unit.await.unwrap();
    }
}

/// Whether a subscriber is told that it knows everything.
fn is_current(news: Option<&FeedEvent>) -> bool {
    match news {
        Some(FeedEvent::Current(_)) => true,
        Some(FeedEvent::Batch(edition)) => edition.age.is_some(),
        _ => false,
    }
}

fn entries(news: &FeedEvent) -> &[RevocationEntry] {
    match news {
        FeedEvent::Listed(entries) | FeedEvent::Revoked(entries) => entries,
        FeedEvent::Current(_) => &[],
        FeedEvent::Batch(edition) => &edition.entries,
    }
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

/// A reader of the stream, as simple as the format allows.
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
            let chunk = self.response.chunk().await.unwrap().expect("the stream goes on");
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
