//! A minimal issuer that implements the protocol between Doorward and its verifiers over real HTTP,
//! with the faults of networks and broken servers.

// The benchmark includes this file by its path, so these need theirs.
#[path = "issuer/answers.rs"]
mod answers;
#[path = "issuer/connections.rs"]
mod connections;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use doorward_tokens::clock::{Clock, Timestamp};
use doorward_tokens::{Algorithm, Claims, SigningKey, TokenId};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use connections::accept;

pub const NOW: i64 = 1_800_000_000;
pub const AUDIENCE: &str = "orders";
pub const CLIENT: (&str, &str) = ("billing", "s3cret/with:odd ones");

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
    /// With a manual clock.
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

    /// Restarts it as another process with the same log, which does not know the old event ids.
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
            ext: None,
            auth_time: None,
            amr: Vec::new(),
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
