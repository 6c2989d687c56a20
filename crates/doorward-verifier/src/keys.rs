//! The issuer's public keys, kept fresh.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use reqwest::header::{AGE, CACHE_CONTROL, ETAG, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::Shared;
use super::backoff::Backoff;
use super::issuer::{Document, FetchError, Issuer};
use super::suspend_aware_clock::Stamp;
use doorward_tokens::clock::Clock;
use doorward_tokens::{Jwk, VerifyingKey};

/// The minimum interval between fetches of the key set for tokens with unknown keys: anybody can
/// forge such tokens.
const REFETCH_INTERVAL: Duration = Duration::from_secs(5);

/// How long keys are trusted beyond their cache lifetime, while they cannot be fetched. The feed
/// also reports revoked keys.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// The cache lifetime of a key set that does not state one.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(300);

/// The bounds of a stated cache lifetime, in seconds.
const MAX_AGE: std::ops::RangeInclusive<u64> = 1..=24 * 3600;

/// The maximum number of keys in a key set.
const MAX_KEYS: usize = 100;

/// The keys, and the callers that wait for new ones.
pub(super) struct KeyCache {
    clock: Clock,
    set: RwLock<Option<Arc<KeySet>>>,
    asked: Mutex<RefetchRequest>,
    refetch_requested: Notify,
    /// The number of completed fetches that callers had requested.
    completed_refetches: watch::Sender<u64>,
}

#[derive(Default)]
struct RefetchRequest {
    last: Option<Stamp>,
    is_pending: bool,
}

/// A fetched key set.
#[derive(Clone)]
pub(super) struct KeySet {
    keys: HashMap<String, (Jwk, Arc<VerifyingKey>)>,
    etag: Option<HeaderValue>,
    fetched: Stamp,
    max_age: Duration,
}

impl KeySet {
    pub(super) fn key(&self, kid: &str) -> Option<Arc<VerifyingKey>> {
        self.keys.get(kid).map(|(_, key)| Arc::clone(key))
    }
}

impl KeyCache {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            set: RwLock::default(),
            asked: Mutex::default(),
            refetch_requested: Notify::new(),
            completed_refetches: watch::Sender::new(0),
        }
    }

    /// The keys, once they are fetched.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether these keys are older than their cache lifetime plus [`GRACE`].
    pub(super) fn are_too_old(&self, set: &KeySet) -> bool {
        set.fetched.elapsed(&self.clock) > set.max_age + GRACE
    }

    /// Triggers a fetch of the key set, unless that was done recently. The returned receiver
    /// changes when the fetch is done; all callers during it share one.
    pub(super) fn refetch(&self) -> Option<watch::Receiver<u64>> {
        let mut asked = self.asked();
        let completed_refetches = self.completed_refetches.subscribe();
        if asked.is_pending {
            return Some(completed_refetches);
        }
        if asked.last.is_some_and(|last| last.elapsed(&self.clock) < REFETCH_INTERVAL) {
            return None;
        }
        *asked = RefetchRequest { last: Some(Stamp::now(&self.clock)), is_pending: true };
        self.refetch_requested.notify_one();
        Some(completed_refetches)
    }

    async fn fetch(&self, issuer: &Issuer) -> Result<Duration, FetchError> {
        let before = self.current();
        let etag = before.as_ref().and_then(|set| set.etag.clone());
        // Taken before the request, because the response may have been generated this early.
        let fetched = Stamp::now(&self.clock);
        let Document { headers, body } = issuer.jwks(etag.as_ref()).await?;
        let max_age = max_age(&headers);
        let set = match (body, before) {
            (Some(body), before) => {
                let keys = parse(&body, before.as_deref())?;
                KeySet { keys, etag: headers.get(ETAG).cloned(), fetched, max_age }
            }
            (None, Some(before)) => KeySet { fetched, max_age, ..KeySet::clone(&before) },
            (None, None) => return Err(FetchError::Unusable("no key set has been fetched yet")),
        };
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(set));
        Ok(max_age)
    }

    fn asked(&self) -> MutexGuard<'_, RefetchRequest> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches the keys when they are due or requested, until the task is aborted.
pub(super) async fn keep_fresh(shared: Arc<Shared>, issuer: Arc<Issuer>) {
    let keys = &shared.keys;
    let mut backoff = Backoff::new();
    loop {
        let was_asked = keys.asked().is_pending;
        let fetched = keys.fetch(&issuer).await;
        if was_asked {
            keys.asked().is_pending = false;
            keys.completed_refetches.send_modify(|completed_refetches| *completed_refetches += 1);
        }
        let wait = match fetched {
            Ok(max_age) => {
                backoff.reset();
                shared.report("keys", None);
                max_age
            }
            Err(error) => {
                shared.report("keys", Some(error.to_string()));
                backoff.wait()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = keys.refetch_requested.notified() => {}
        }
    }
}

/// The keys of a JWK set (RFC 7517 5). Those of other types are ignored, as the RFC requires. A
/// known key stays the same object, so that cached tokens can tell that it is unchanged.
fn parse(
    body: &[u8],
    before: Option<&KeySet>,
) -> Result<HashMap<String, (Jwk, Arc<VerifyingKey>)>, FetchError> {
    #[derive(Deserialize)]
    struct Jwks {
        keys: Vec<Value>,
    }

    let Jwks { keys } = serde_json::from_slice(body)
        .map_err(|_| FetchError::Unusable("the key set is malformed"))?;
    let mut found = HashMap::new();
    for jwk in keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok()) {
        let known = before.and_then(|set| set.keys.get(jwk.kid())).filter(|(old, _)| *old == jwk);
        let key = known.map_or_else(|| Arc::new(VerifyingKey::from(&jwk)), |(_, key)| key.clone());
        if found.insert(jwk.kid().to_owned(), (jwk, key)).is_some() {
            return Err(FetchError::Unusable("two keys of the key set have the same kid"));
        }
    }
    match found.len() {
        0 => Err(FetchError::Unusable("the key set has no key for access tokens")),
        1..=MAX_KEYS => Ok(found),
        _ => Err(FetchError::Unusable("the key set has too many keys")),
    }
}

/// How long a response may be cached (RFC 9111 5.2.2.1), less the time that it spent in caches on
/// the way.
fn max_age(headers: &HeaderMap) -> Duration {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_ascii_lowercase();
    let (mut seconds, mut is_forbidden) = (None, false);
    for field in headers.get_all(CACHE_CONTROL).iter().map(text) {
        for directive in field.split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim() {
                "max-age" => seconds = value.trim().trim_matches('"').parse::<u64>().ok(),
                "no-cache" | "no-store" => is_forbidden = true,
                _ => {}
            }
        }
    }
    let seconds = if is_forbidden { Some(0) } else { seconds };
    let age = headers.get(AGE).and_then(|age| text(age).trim().parse::<u64>().ok());
    let seconds = seconds.unwrap_or(DEFAULT_MAX_AGE.as_secs()).saturating_sub(age.unwrap_or(0));
    Duration::from_secs(seconds.clamp(*MAX_AGE.start(), *MAX_AGE.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_lifetime_is_read_from_the_headers_within_its_bounds() {
        let seconds = |fields: &[(&'static str, &'static str)]| {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            max_age(&fields.collect()).as_secs()
        };
        assert_eq!(seconds(&[]), 300);
        assert_eq!(seconds(&[("cache-control", "public, Max-Age=120")]), 120);
        assert_eq!(seconds(&[("cache-control", "max-age=\"120\"")]), 120);
        assert_eq!(seconds(&[("cache-control", "max-age=120"), ("age", "100")]), 20);
        assert_eq!(seconds(&[("cache-control", "max-age=120"), ("age", "500")]), 1);
        assert_eq!(seconds(&[("cache-control", "max-age=120, no-store")]), 1);
        assert_eq!(seconds(&[("cache-control", "max-age=-5")]), 300);
        assert_eq!(seconds(&[("cache-control", "s-maxage=5, max-age=99999999999")]), 86_400);
    }

    #[test]
    fn an_unchanged_key_keeps_its_object_and_a_changed_one_gets_a_new_one() {
        let jwk = |kid: &str, x: &str| {
            serde_json::json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                "kid": kid, "x": x})
        };
        let (x, y) = (
            "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "6OjXmzG7y1T0zcKp0TGwlFPXkfRKRcKZNzVxzFbO3tk",
        );
        let clock = Clock::system();
        let set = |jwks: &[Value], before| {
            let body = serde_json::json!({ "keys": jwks }).to_string();
            parse(body.as_bytes(), before).map(|keys| KeySet {
                keys,
                etag: None,
                fetched: Stamp::now(&clock),
                max_age: DEFAULT_MAX_AGE,
            })
        };
        let other = serde_json::json!({"kty": "oct", "k": "AAAA"});
        let first = set(&[jwk("a", x), jwk("b", x), other.clone()], None).unwrap();
        let second = set(&[jwk("a", x), jwk("b", y)], Some(&first)).unwrap();
        let is_same = |kid| Arc::ptr_eq(&first.key(kid).unwrap(), &second.key(kid).unwrap());
        assert!(is_same("a"));
        assert!(!is_same("b"));
        assert!(set(&[jwk("a", x), jwk("a", y)], None).is_err());
        assert!(set(&[other], None).is_err());
        assert!(parse(b"[]", None).is_err() && parse(b"{\"keys\":{}}", None).is_err());
    }
}
