//! `/revocations`: what was revoked, for services that verify access tokens by themselves.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, ContentType, ETAG, HeaderMap, HeaderName, HeaderValue, VARY,
};
use actix_web::web::Bytes;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use futures_util::{Stream, stream};
use serde::Serialize;
use serde_json::json;

use super::feed_connections::{FeedConnection, MAX_PER_CLIENT};
use super::metadata::is_known;
use crate::database::Id;
use crate::http::middleware::HeadRequest;
use crate::http::problem::{Code, Problem};
use crate::http::request::client_auth::ConfidentialClient;
use crate::http::{Api, HttpSettings};
use crate::revocations::feed::{
    FeedBatch, FeedCursor, FeedEvent, MAX_SUBSCRIBERS, RevocationEntry, Snapshot, Subscription,
};
use crate::tokens::revocation_id_to_claim;

const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a subscriber that is told to come back should wait, in milliseconds.
const RETRY_FIELD: &str = "retry: 500\n\n";

/// Bytes of the stream that are handed on at once: a connection keeps a buffer as large as the
/// largest that it had to write.
const CHUNK_BYTES: usize = 4096;

/// Entries of the list that are written at once, which is about as much.
const ENTRIES_PER_CHUNK: usize = 50;

/// When a subscriber may try again that found no place.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// An entry as it is published.
#[derive(Serialize)]
struct PublishedEntry {
    /// The `jti`, `sid` or `kid` that tokens must not have, or the `sub` of those without a `sid`.
    id: String,
    /// When it may be forgotten, in seconds since 1970.
    exp: i64,
}

impl From<RevocationEntry> for PublishedEntry {
    fn from(entry: RevocationEntry) -> Self {
        // Rounded up: it must not be forgotten early.
        let exp = entry.expires_at.unix_seconds() + 1;
        Self { id: revocation_id_to_claim(entry.id.uuid()), exp }
    }
}

pub(in crate::http) async fn revocations(
    api: web::Data<Api>,
    settings: web::Data<HttpSettings>,
    client: ConfidentialClient,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    if wants_stream(request.headers()) {
        if request.extensions().contains::<HeadRequest>() {
            // A stream has no end at which the next request's answer could begin.
            return Ok(HttpResponse::Ok().content_type(EVENT_STREAM).finish());
        }
        if api.revocations.subscribers() >= MAX_SUBSCRIBERS {
            return Err(Problem::new(Code::Overloaded).retry_after(RETRY_AFTER));
        }
        let client = client.0.id;
        let place = api.feed_connections.acquire(client).ok_or_else(|| {
            let detail =
                format!("This client has {MAX_PER_CLIENT} feeds open, and may have no more.");
            Problem::new(Code::Overloaded).detail(detail).retry_after(RETRY_AFTER)
        })?;
        let last = request
            .headers()
            .get(LAST_EVENT_ID)
            .and_then(|id| FeedCursor::parse(id.to_str().ok()?));
        let subscription = api.revocations.subscribe(last.as_ref());
        return Ok(HttpResponse::Ok()
            .content_type(EVENT_STREAM)
            .insert_header((CACHE_CONTROL, "no-store"))
            // Nginx would keep events back until its buffer is full.
            .insert_header(("x-accel-buffering", "no"))
            .streaming(events(Subscriber { subscription, api, settings, client, _place: place })));
    }
    Ok(snapshot(&api, &request))
}

/// RFC 9110 12.5.1, as far as it matters: whoever names the type wants it.
fn wants_stream(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(ACCEPT).filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(',')).any(|range| {
        range.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(EVENT_STREAM))
    })
}

fn snapshot(api: &Api, request: &HttpRequest) -> HttpResponse {
    let age = api.revocations.staleness().as_secs_f64();
    let snapshot = api.revocations.snapshot();
    let etag = format!("\"{}\"", snapshot.cursor);
    let is_known = is_known(request, &etag);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((ETAG, etag))
        .insert_header((CACHE_CONTROL, "private, no-cache"))
        .insert_header((VARY, HeaderValue::from_static("accept")))
        .insert_header(("doorward-age", age.to_string()));
    if is_known {
        return response.finish();
    }
    let snapshot = Arc::new(snapshot);
    // HTTP/1.0 knows no parts of an unknown number, and the head of an answer says its length.
    let length = document(age, Arc::clone(&snapshot)).map(|part| part.len() as u64).sum();
    let parts = stream::iter(document(age, snapshot).map(Ok::<_, Infallible>));
    response.insert_header(ContentType::json()).body(SizedStream::new(length, parts))
}

/// The snapshot as JSON, in parts of bounded size: what is written for one who reads slowly is never
/// all of it, and the copy is the same for many.
fn document(age: f64, snapshot: Arc<Snapshot>) -> impl Iterator<Item = Bytes> {
    let pieces = (0..).step_by(ENTRIES_PER_CHUNK).map_while(move |from| {
        let entries: Vec<RevocationEntry> = snapshot.piece(from, ENTRIES_PER_CHUNK).collect();
        let text = list(&entries);
        let comma = if from == 0 { "" } else { "," };
        (!entries.is_empty()).then(|| format!("{comma}{}", text.trim_matches(['[', ']'])))
    });
    let (head, tail) = (format!(r#"{{"age":{},"revoked":["#, json!(age)), String::from("]}"));
    std::iter::once(head).chain(pieces).chain(std::iter::once(tail)).map(Bytes::from)
}

/// Who is told, and what ends it.
struct Subscriber {
    subscription: Subscription,
    api: web::Data<Api>,
    settings: web::Data<HttpSettings>,
    client: Id,
    _place: FeedConnection,
}

impl Subscriber {
    /// The next thing to tell; nothing when it was too slow, when its client was removed, or when
    /// this server stops.
    async fn next(&mut self) -> Option<FeedEvent> {
        if self.settings.is_draining.load(Ordering::Relaxed) {
            return None;
        }
        let next = self.subscription.next().await;
        next.filter(|_| !self.api.revocations.contains(self.client))
    }
}

/// The events for a subscriber, in parts of bounded size.
fn events(subscriber: Subscriber) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold((Some(subscriber), Bytes::new()), |(mut subscriber, mut rest)| async {
        if rest.is_empty() {
            let current = subscriber.as_mut()?;
            if let Some(next) = current.next().await {
                rest = event(next, &current.subscription.cursor());
            } else {
                subscriber = None;
                rest = Bytes::from_static(RETRY_FIELD.as_bytes());
            }
        }
        let part = rest.split_to(rest.len().min(CHUNK_BYTES));
        Some((Ok(part), (subscriber, rest)))
    })
}

/// What a subscriber is sent.
fn event(next: FeedEvent, cursor: &FeedCursor) -> Bytes {
    match next {
        // Whoever comes back from the middle of the list has to begin anew.
        FeedEvent::Listed(entries) => written("snapshot", None, &list(&entries)).into(),
        FeedEvent::Revoked(entries) => written("revoked", Some(cursor), &list(&entries)).into(),
        FeedEvent::Current(age) => written("current", Some(cursor), &current(age)).into(),
        FeedEvent::Batch(batch) => {
            batch.text.get_or_init(|| batch_text(&batch, cursor));
            Bytes::from_owner(Shared(batch))
        }
    }
}

fn batch_text(batch: &FeedBatch, cursor: &FeedCursor) -> String {
    let mut text = String::new();
    if !batch.entries.is_empty() {
        text += &written("revoked", Some(cursor), &list(&batch.entries));
    }
    if let Some(age) = batch.age {
        text += &written("current", Some(cursor), &current(age));
    }
    text
}

/// An edition's text, of which there is one for all.
struct Shared(Arc<FeedBatch>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.text.get().map_or(&[], |text| text.as_bytes())
    }
}

/// One event as the HTML standard writes it (9.2.5). JSON has no line ends of its own.
fn written(name: &str, id: Option<&FeedCursor>, data: &str) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n")
}

fn list(entries: &[RevocationEntry]) -> String {
    let revoked: Vec<PublishedEntry> = entries.iter().copied().map(PublishedEntry::from).collect();
    serde_json::to_string(&revoked).unwrap_or_default()
}

fn current(age: Duration) -> String {
    json!({ "age": age.as_secs_f64() }).to_string()
}
