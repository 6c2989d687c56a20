//! A minimal issuer that implements the protocol between Doorward and its verifiers over real HTTP,
//! with the faults of networks and broken servers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use doorward_tokens::clock::{Clock, Timestamp};
use doorward_tokens::{Algorithm, Claims, SigningKey, TokenId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub const NOW: i64 = 1_800_000_000;
pub const AUDIENCE: &str = "orders";
pub const CLIENT: (&str, &str) = ("billing", "s3cret/with:odd ones");
/// The form-urlencoded pair, joined, in base64.
const AUTHORIZATION: &str = "Basic YmlsbGluZzpzM2NyZXQlMkZ3aXRoJTNBb2RkK29uZXM=";

/// The maximum number of entries in one event.
const ENTRIES: usize = 1_000;

/// Between two events `current`.
const HEARTBEAT: Duration = Duration::from_millis(20);

/// A running issuer. It stops when this is dropped.
pub struct Issuer {
    pub url: String,
    pub clock: Clock,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.state().connections.drain(..).for_each(|connection| connection.abort());
    }
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// The issuer's behaviour and received requests.
pub struct State {
    /// Members of the metadata that are replaced.
    pub metadata: HashMap<&'static str, Value>,
    /// A complete response that replaces the metadata, the key set or the feed's head.
    pub answers: HashMap<&'static str, String>,
    /// Bytes that replace the feed's body.
    pub feed: Option<Vec<u8>>,
    /// Whether they are repeated for ever.
    pub is_endless: bool,
    pub has_heartbeat: bool,
    /// The age that `current` reports.
    pub age: f64,
    pub retry: Option<u64>,
    pub is_up: bool,
    pub cache_control: String,
    /// The keys of the key set.
    pub keys: Vec<Arc<SigningKey>>,
    /// The feed's log: ids, each with its expiry.
    pub revoked: Vec<(String, i64)>,
    boot: u32,
    requests: Vec<Request>,
    connections: Vec<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: HashMap<String, String>,
}

pub const METADATA: &str = "/.well-known/oauth-authorization-server";
pub const JWKS: &str = "/keys";
pub const FEED: &str = "/feed";

impl Issuer {
    /// With a clock that stands still until it is moved.
    pub async fn start() -> Self {
        Self::start_with(Clock::manual(Timestamp::from_unix_seconds(NOW))).await
    }

    pub async fn start_with(clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            metadata: HashMap::new(),
            answers: HashMap::new(),
            feed: None,
            is_endless: false,
            has_heartbeat: true,
            age: 0.0,
            retry: None,
            is_up: true,
            cache_control: "public, max-age=300".into(),
            keys: vec![key()],
            revoked: Vec::new(),
            boot: 1,
            requests: Vec::new(),
            connections: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: watch::Sender::new(()) });
        let accepting = tokio::spawn(accept(listener, address, Arc::clone(&shared)));
        Self { url: format!("http://{address}"), clock, shared, accepting }
    }

    /// Reads or changes its state.
    pub fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.shared.state());
        self.shared.changed.send_replace(());
        result
    }

    /// Revokes an id on the feed, for ten minutes.
    pub fn revoke(&self, id: &str) {
        let until = self.clock.now().unix_seconds() + 600;
        self.set(|state| state.revoked.push((id.to_owned(), until)));
    }

    /// Breaks every connection, and answers none, until [`Issuer::back`].
    pub fn cut(&self) {
        self.set(|state| {
            state.is_up = false;
            state.connections.drain(..).for_each(|connection| connection.abort());
        });
    }

    pub fn back(&self) {
        self.set(|state| state.is_up = true);
    }

    /// Breaks every connection; new ones are answered.
    pub fn drop_connections(&self) {
        self.cut();
        self.back();
    }

    /// Another process, with the same log, which does not know the old event ids.
    pub fn restart(&self) {
        self.set(|state| state.boot += 1);
        self.drop_connections();
    }

    pub fn requests(&self, path: &str) -> Vec<Request> {
        let state = self.shared.state();
        state.requests.iter().filter(|request| request.path == path).cloned().collect()
    }

    /// The claims of a new token: another session, another id, valid for ten minutes.
    pub fn claims(&self) -> Claims {
        let now = self.clock.now().unix_seconds();
        Claims {
            iss: self.url.clone(),
            sub: Uuid::new_v4(),
            aud: AUDIENCE.into(),
            exp: now + 600,
            iat: now,
            jti: TokenId::from_bits(Uuid::new_v4().as_u64_pair().0),
            client_id: "doorward".into(),
            sid: Some(Uuid::new_v4()),
            scope: None,
            roles: Vec::new(),
        }
    }

    pub fn key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.shared.state().keys[0])
    }

    pub fn sign(&self, claims: &Claims) -> String {
        self.key().sign(claims).unwrap()
    }

    pub fn token(&self) -> String {
        self.sign(&self.claims())
    }
}

pub fn key() -> Arc<SigningKey> {
    let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let der = EcdsaKeyPair::generate_pkcs8(alg, &SystemRandom::new()).unwrap();
    Arc::new(SigningKey::from_pkcs8(Algorithm::Es256, der.as_ref()).unwrap())
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut state = shared.state();
        if state.is_up {
            let served = serve(stream, address, Arc::clone(&shared));
            state.connections.push(tokio::spawn(async move {
                let _ = served.await;
            }));
        }
    }
}

/// One request per connection.
async fn serve(mut stream: TcpStream, address: SocketAddr, shared: Arc<Shared>) -> Option<()> {
    let request = read(&mut stream).await?;
    let answer = {
        let mut state = shared.state();
        state.requests.push(request.clone());
        match state.answers.get(request.path.as_str()) {
            Some(answer) => answer.clone(),
            None => state.answer(&request, address),
        }
    };
    stream.write_all(answer.as_bytes()).await.ok()?;
    if request.path == FEED && answer.contains("200 OK") {
        feed(&mut stream, &request, &shared).await?;
    }
    stream.shutdown().await.ok()
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let fields = lines.filter_map(|line| line.split_once(": "));
    let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    Some(Request { path, headers: headers.collect() })
}

impl State {
    fn answer(&self, request: &Request, address: SocketAddr) -> String {
        let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
        match request.path.as_str() {
            METADATA => {
                let url = format!("http://{address}");
                let mut metadata = json!({
                    "issuer": url,
                    "jwks_uri": format!("{url}{JWKS}"),
                    "doorward_revocations_endpoint": format!("{url}{FEED}"),
                });
                for (name, value) in &self.metadata {
                    metadata[name] = value.clone();
                }
                ok("application/json", "", &metadata.to_string())
            }
            JWKS => {
                let keys: Vec<_> = self.keys.iter().map(|key| key.jwk()).collect();
                let kids: Vec<_> = self.keys.iter().map(|key| key.kid()).collect();
                let etag = format!("\"{}\"", kids.join("."));
                let cache = format!("ETag: {etag}\r\nCache-Control: {}\r\n", self.cache_control);
                if header("if-none-match") == etag {
                    return format!(
                        "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n{cache}\r\n"
                    );
                }
                ok("application/jwk-set+json", &cache, &json!({ "keys": keys }).to_string())
            }
            FEED if header("authorization") != AUTHORIZATION => status("401 Unauthorized"),
            FEED if header("accept") != "text/event-stream" => status("406 Not Acceptable"),
            FEED => {
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n"
                    .to_owned()
            }
            _ => status("404 Not Found"),
        }
    }

    /// The log from there on, as one event or several. An interrupted list has no id to resume
    /// from.
    fn events(&self, name: &str, from: usize) -> String {
        let id = format!("id: {}-{}\n", self.boot, self.revoked.len());
        let mut parts = self.revoked[from..].chunks(ENTRIES).peekable();
        let mut text = String::new();
        while let Some(part) = parts.next() {
            let entries = part.iter().map(|(id, exp)| json!({ "id": id, "exp": exp }));
            let entries: Value = entries.collect();
            let id = if parts.peek().is_none() { id.as_str() } else { "" };
            text += &[id, "event: ", name, "\ndata: ", &entries.to_string(), "\n\n"].concat();
        }
        text
    }

    fn current(&self) -> String {
        let id = format!("{}-{}", self.boot, self.revoked.len());
        format!(": alive\nid: {id}\nevent: current\ndata: {{\"age\":{}}}\n\n", self.age)
    }

    /// The position from which a stream resumes, if this process has issued that id.
    fn resumed(&self, request: &Request) -> Option<usize> {
        let (boot, number) = request.headers.get("last-event-id")?.split_once('-')?;
        let number = number.parse().ok().filter(|number| *number <= self.revoked.len())?;
        (boot.parse() == Ok(self.boot)).then_some(number)
    }
}

pub fn ok(media_type: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {media_type}\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    )
}

pub fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
}

async fn feed(stream: &mut TcpStream, request: &Request, shared: &Shared) -> Option<()> {
    let mut changed = shared.changed.subscribe();
    let scripted = {
        let state = shared.state();
        state.feed.clone().map(|bytes| (bytes, state.is_endless))
    };
    if let Some((bytes, is_endless)) = scripted {
        stream.write_all(&bytes).await.ok()?;
        if is_endless {
            loop {
                stream.write_all(&bytes).await.ok()?;
            }
        }
        std::future::pending::<()>().await;
    }
    let (mut sent, first) = {
        let state = shared.state();
        let (from, name) =
            state.resumed(request).map_or((0, "snapshot"), |number| (number, "revoked"));
        let retry = state.retry.map(|ms| format!("retry: {ms}\n")).unwrap_or_default();
        let beat = if state.has_heartbeat { state.current() } else { String::new() };
        (state.revoked.len(), retry + &state.events(name, from) + &beat)
    };
    stream.write_all(first.as_bytes()).await.ok()?;
    loop {
        let beat = tokio::time::timeout(HEARTBEAT, changed.changed()).await;
        let news = {
            let state = shared.state();
            let mut news = String::new();
            if state.revoked.len() > sent {
                news += &state.events("revoked", sent);
                sent = state.revoked.len();
            }
            if state.has_heartbeat && beat.is_err() {
                news += &state.current();
            }
            news
        };
        stream.write_all(news.as_bytes()).await.ok()?;
    }
}
