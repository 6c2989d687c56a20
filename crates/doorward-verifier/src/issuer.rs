//! Requests to the issuer: its metadata, its key set, its feed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::suspend_aware_clock::Stamp;
use doorward_tokens::clock::Clock;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout for a whole document, and for the head of the feed's response.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum size of a document in bytes. A key set with eight RSA keys has 5 KB.
const MAX_DOCUMENT: usize = 256 * 1024;

/// How long the metadata are trusted.
const METADATA_LIFETIME: Duration = Duration::from_secs(3600);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The server that issues the tokens.
pub(super) struct Issuer {
    http: Client,
    clock: Clock,
    /// The issuer, in the form of the claim `iss`.
    name: String,
    url: Url,
    authorization: HeaderValue,
    endpoints: Mutex<Option<(Endpoints, Stamp)>>,
}

#[derive(Clone, Debug)]
struct Endpoints {
    jwks: Url,
    revocations: Url,
}

/// The required members of the metadata (RFC 8414 2).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
    doorward_revocations_endpoint: Option<String>,
}

/// Why the issuer's metadata are unusable. A retry would find the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// They belong to another issuer. The names are compared byte for byte.
    #[error("the metadata at {expected} are those of the issuer {found:?}")]
    Issuer {
        /// The issuer that the verifier was given.
        expected: String,
        /// The one that the metadata name.
        found: String,
    },
    /// An endpoint is missing: the server is not Doorward, or an old version.
    #[error("the issuer's metadata lack {0}")]
    Missing(&'static str),
    /// An endpoint is on another server than the issuer, or is not a URL.
    #[error("{0} is not a URL below the issuer's own scheme, host and port")]
    CrossOrigin(&'static str),
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error("{0}")]
    Http(String),
    #[error("no response within {} seconds", RESPONSE_TIMEOUT.as_secs())]
    Timeout,
    #[error("the issuer rejects the client's id and secret")]
    InvalidClient,
    #[error("the issuer responds with status {0}")]
    Status(StatusCode),
    #[error("the response has more than {MAX_DOCUMENT} bytes")]
    TooLong,
    #[error("{0}")]
    Unusable(&'static str),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Http(chain(&error)) }
    }
}

/// An error with its causes: `reqwest` itself only names the URL.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A document and its headers.
pub(super) struct Document {
    pub(super) headers: HeaderMap,
    /// `None` when it is unchanged since the `ETag` sent.
    pub(super) body: Option<Vec<u8>>,
}

impl Issuer {
    pub(super) fn new(
        name: String,
        url: Url,
        (client, secret): (&str, &str),
        clock: Clock,
    ) -> reqwest::Result<Self> {
        let http = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("doorward-verifier/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let authorization = basic(client, secret);
        Ok(Self { http, clock, name, url, authorization, endpoints: Mutex::default() })
    }

    /// Fetches the metadata, unless that was done within the hour.
    pub(super) async fn discover(&self) -> Result<(), FetchError> {
        self.endpoints().await.map(drop)
    }

    /// The key set; without a body when it is unchanged since this `ETag`.
    pub(super) async fn jwks(&self, etag: Option<&HeaderValue>) -> Result<Document, FetchError> {
        let url = self.endpoints().await?.jwks;
        self.document(url, etag).await.inspect_err(|error| self.invalidate_metadata_on(error))
    }

    /// The feed, from after the event with this id.
    pub(super) async fn feed(&self, after: Option<&str>) -> Result<Response, FetchError> {
        let url = self.endpoints().await?.revocations;
        self.open(url, after).await.inspect_err(|error| self.invalidate_metadata_on(error))
    }

    async fn open(&self, url: Url, after: Option<&str>) -> Result<Response, FetchError> {
        let mut request = self
            .http
            .get(url)
            .header(ACCEPT, "text/event-stream")
            .header(AUTHORIZATION, self.authorization.clone());
        if let Some(after) = after.and_then(|id| HeaderValue::from_str(id).ok()) {
            request = request.header(LAST_EVENT_ID, after);
        }
        let answer = tokio::time::timeout(RESPONSE_TIMEOUT, request.send()).await;
        let response = answer.map_err(|_| FetchError::Timeout)??;
        match response.status() {
            StatusCode::OK if media_type(&response) == "text/event-stream" => Ok(response),
            StatusCode::OK => Err(FetchError::Unusable("the feed is not text/event-stream")),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(FetchError::InvalidClient),
            status => Err(FetchError::Status(status)),
        }
    }

    async fn endpoints(&self) -> Result<Endpoints, FetchError> {
        if let Some((endpoints, at)) = self.known().as_ref()
            && at.elapsed(&self.clock) < METADATA_LIFETIME
        {
            return Ok(endpoints.clone());
        }
        let mut url = self.url.clone();
        let path =
            format!("{}/.well-known/oauth-authorization-server", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let body = self.document(url, None).await?.body.unwrap_or_default();
        let metadata: Metadata = serde_json::from_slice(&body)
            .map_err(|_| FetchError::Unusable("the issuer's metadata are malformed"))?;
        if metadata.issuer != self.name {
            let (expected, found) = (self.name.clone(), metadata.issuer);
            return Err(DiscoveryError::Issuer { expected, found }.into());
        }
        let endpoints = Endpoints {
            jwks: self.own("jwks_uri", metadata.jwks_uri)?,
            revocations: self
                .own("doorward_revocations_endpoint", metadata.doorward_revocations_endpoint)?,
        };
        *self.known() = Some((endpoints.clone(), Stamp::now(&self.clock)));
        Ok(endpoints)
    }

    /// Parses an endpoint's URL and requires the issuer's origin: the client secret is sent there,
    /// and keys are fetched from there.
    fn own(&self, name: &'static str, url: Option<String>) -> Result<Url, DiscoveryError> {
        let url = url.ok_or(DiscoveryError::Missing(name))?;
        Url::parse(&url)
            .ok()
            .filter(|url| url.origin() == self.url.origin())
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .ok_or(DiscoveryError::CrossOrigin(name))
    }

    async fn document(&self, url: Url, etag: Option<&HeaderValue>) -> Result<Document, FetchError> {
        let mut request = self.http.get(url).timeout(RESPONSE_TIMEOUT);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let mut response = request.send().await?;
        let body = match response.status() {
            StatusCode::OK => Some(read(&mut response).await?),
            StatusCode::NOT_MODIFIED if etag.is_some() => None,
            status => return Err(FetchError::Status(status)),
        };
        Ok(Document { headers: response.headers().clone(), body })
    }

    /// Invalidates the metadata after an unexpected response of an endpoint: it may have moved.
    fn invalidate_metadata_on(&self, error: &FetchError) {
        if matches!(error, FetchError::Status(_) | FetchError::Unusable(_)) {
            *self.known() = None;
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<(Endpoints, Stamp)>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(response: &mut Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_DOCUMENT {
            return Err(FetchError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn media_type(response: &Response) -> String {
    let value = response.headers().get(reqwest::header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// RFC 6749 2.3.1: both parts are form-urlencoded before they are joined. The result is ASCII
/// without control characters, so it is a valid header value.
fn basic(client: &str, secret: &str) -> HeaderValue {
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = STANDARD.encode(format!("{}:{}", encode(client), encode(secret)));
    let mut value = HeaderValue::from_str(&format!("Basic {pair}"))
        .unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_basic_are_form_urlencoded() {
        let value = basic("billing", "a:b c+d/ü%");
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = STANDARD.decode(encoded).unwrap();
        assert_eq!(pair, b"billing:a%3Ab+c%2Bd%2F%C3%BC%25");
        assert!(!format!("{value:?}").contains(encoded));
    }
}
