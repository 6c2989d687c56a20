//! `/revocations`: the revocation feed, for services that verify access tokens themselves.

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

/// The reconnection delay of a subscriber, in milliseconds.
const RETRY_FIELD: &str = "retry: 500\n\n";

/// The maximum number of bytes in one write: a connection keeps a buffer as large as its largest
/// write.
const CHUNK_BYTES: usize = 4096;

/// The number of list entries in one write: about [`CHUNK_BYTES`].
const ENTRIES_PER_CHUNK: usize = 50;

/// Retry-After for a subscriber beyond the limit.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A published entry.
#[derive(Serialize)]
struct PublishedEntry {
    /// The revoked `jti`, `sid`, `kid` or `client_id`.
    id: String,
    /// When it may be dropped, in seconds since 1970.
    exp: i64,
}

impl From<RevocationEntry> for PublishedEntry {
    fn from(entry: RevocationEntry) -> Self {
        // Rounded up: it must not be dropped early.
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
            // A stream has no end after which the next response could begin.
            return Ok(HttpResponse::Ok().content_type(EVENT_STREAM).finish());
        }
        if api.revocations.subscribers() >= MAX_SUBSCRIBERS {
            return Err(Problem::new(Code::Overloaded).retry_after(RETRY_AFTER));
        }
        let client = client.0.id;
        let place = api.feed_connections.acquire(client).ok_or_else(|| {
            let detail =
                format!("This client has {MAX_PER_CLIENT} feed connections open, the maximum.");
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
            // Nginx would hold events back until its buffer is full.
            .insert_header(("x-accel-buffering", "no"))
            .streaming(events(Subscriber { subscription, api, settings, client, _place: place })));
    }
    Ok(snapshot(&api, &request))
}

/// RFC 9110 12.5.1, simplified: a request that names the type selects it.
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
    // HTTP/1.0 has no chunked encoding, so the head states the length.
    let length = document(age, Arc::clone(&snapshot)).map(|part| part.len() as u64).sum();
    let parts = stream::iter(document(age, snapshot).map(Ok::<_, Infallible>));
    response.insert_header(ContentType::json()).body(SizedStream::new(length, parts))
}

/// The snapshot as JSON, in parts of bounded size: a slow reader never has all of it buffered, and
/// the copy is shared by many.
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

/// A subscriber, and the conditions that end its connection.
struct Subscriber {
    subscription: Subscription,
    api: web::Data<Api>,
    settings: web::Data<HttpSettings>,
    client: Id,
    _place: FeedConnection,
}

impl Subscriber {
    /// The next event to send; `None` when the subscriber was too slow, its client was removed, or
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

/// A feed event as bytes.
fn event(next: FeedEvent, cursor: &FeedCursor) -> Bytes {
    match next {
        // A subscriber that reconnects in the middle of the list has to start again.
        FeedEvent::Listed(entries) => written("snapshot", None, &list(&entries)).into(),
        FeedEvent::Revoked(entries) => written("revoked", Some(cursor), &list(&entries)).into(),
        FeedEvent::Current(age) => written("current", Some(cursor), &current(age)).into(),
        FeedEvent::Batch(batch) => {
            batch.text.get_or_init(|| batch_text(&batch, cursor));
            Bytes::from_owner(SharedBatch(batch))
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

/// The text of a batch, shared by all subscribers.
struct SharedBatch(Arc<FeedBatch>);

impl AsRef<[u8]> for SharedBatch {
    fn as_ref(&self) -> &[u8] {
        self.0.text.get().map_or(&[], |text| text.as_bytes())
    }
}

/// One event in the format of the HTML standard (9.2.5). Compact JSON has no line breaks.
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
