//! Verification of access tokens in your own service: without a call to Doorward per request, and
//! with immediate revocation.
//!
//! A [`Verifier`] is configured with the issuer's URL. In the background it keeps the issuer's
//! public keys fresh and subscribes to its revocation feed; [`Verifier::verify`] then answers from
//! memory.
//!
//! # Use
//!
//! ```toml
//! [dependencies]
//! doorward-verifier = "0.1"
//! ```
//!
//! On the machine where Doorward runs, `doorward client add` creates a client for your service and
//! prints its id and secret. Then:
//!
//! ```no_run
//! use doorward_verifier::{Verifier, VerifyError};
//!
//! # async fn run(token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::builder("https://login.example.com") // `public_url` of Doorward
//!     .audience("doorward")                                     // its setting `audience`
//!     .client("orders", &std::env::var("DOORWARD_CLIENT_SECRET")?)
//!     .start()
//!     .await?;
//! verifier.ready().await; // until then every token is refused
//!
//! match verifier.verify(token) {
//!     Ok(claims) => println!("user {} has {:?}", claims.sub, claims.scope),
//!     Err(error) if error.is_transient() => println!("503, come again: {error}"),
//!     Err(error) => println!("401: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! With actix-web (feature `actix`) a handler takes `actix::Access`; for axum and other frameworks
//! that use tower (feature `tower`) there is `tower::VerifierLayer`.
//!
//! # Guarantees
//!
//! - **A revoked token is rejected** as soon as the feed reports it: milliseconds after the logout.
//!   A token is revoked by its `jti`, its session (`sid`), the key that signed it (`kid`), or the
//!   client that it was issued to (`client_id`).
//! - **Nothing is accepted before the list is complete.** A verifier that starts, or one that was
//!   disconnected for longer than [`Builder::max_staleness`], first loads all revocations.
//!   [`Verifier::staleness`] tells the age of the list; [`Builder::when_stale`] decides about
//!   tokens past the limit. [`OnStale::FailOpen`] continues with an old list, but not without one:
//!   a verifier that has never reached the issuer accepts nothing.
//! - **A wrong clock does not revalidate a revoked token.** When the clock is set by more than 5
//!   seconds, or the machine was suspended, the list is stale until the feed has sent everything
//!   again; until then [`Builder::when_stale`] decides. Entries are not dropped as expired by a
//!   clock that was set.
//! - **Forgeries are rejected**: the algorithm is the key's, never the token's choice; keys come
//!   from the issuer's key set only; claims are parsed strictly (RFC 8725, RFC 9068).
//! - **Bounded**: memory for revoked ids ([`Builder::max_revocations`]), for tokens
//!   ([`Builder::cached_tokens`]) and for the issuer's responses.
//!
//! # Background tasks
//!
//! - The metadata at `/.well-known/oauth-authorization-server` must name exactly this issuer, and
//!   endpoints on its own origin. Redirects are not followed.
//! - The key set is fetched again when the `max-age` of its `Cache-Control` has expired. If that
//!   fails, the old keys stay valid for one more day; after that every token is rejected with
//!   [`VerifyError::Stale`], regardless of the policy. A token with an unknown `kid` triggers an
//!   additional fetch, at most once in 5 seconds for all of them together;
//!   [`Verifier::verify_or_refetch`] waits for it.
//! - The feed is one connection that stays open. When it breaks, or does not report for 10 seconds
//!   that it is complete, it is reopened after 0.1 to 10 seconds. Malformed input is never ignored:
//!   the stream is closed, and all revocations are requested again.
//! - Proxies of the environment (`HTTPS_PROXY`, `NO_PROXY`) and the system's root certificates are
//!   used.
//!
//! The tasks run on the tokio runtime that [`Builder::start`] was called in and end when the last
//! clone of the verifier is dropped. They log to `tracing`; [`Verifier::last_error`] returns the
//! current error.

#[cfg(feature = "actix")]
pub mod actix;
mod backoff;
mod builder;
mod issuer;
mod keys;
#[cfg(any(feature = "actix", feature = "tower"))]
mod rejection;
mod revocation_feed;
mod revocation_list;
mod sse;
mod suspend_aware_clock;
#[cfg(feature = "tower")]
pub mod tower;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{info, warn};

pub use builder::{Builder, OnStale, StartError};
pub use doorward_tokens::{Audience, Claims, TokenError, TokenId};
pub use issuer::DiscoveryError;

use doorward_tokens::cache::VerifiedTokenCache;
use doorward_tokens::clock::Clock;
use doorward_tokens::{Expected, Signed};
use keys::{KeyCache, KeySet};
use revocation_list::{RevocationList, TokenStatus};

/// How long [`Verifier::verify_or_refetch`] waits for the key set.
const REFETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// Verifies access tokens from memory. Clones are cheap and share everything.
#[derive(Clone)]
pub struct Verifier(Arc<RunningVerifier>);

/// The state, and the tasks that keep it fresh while a verifier exists.
struct RunningVerifier {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
}

impl Drop for RunningVerifier {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Why a token is rejected. The texts may be shown to its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is not valid for this issuer and audience, or has expired. `Expired` invites the client
    /// to refresh.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It, its session, its client or its key was revoked. A refresh will not help if it was the
    /// session.
    #[error("the access token was revoked")]
    Revoked,
    /// The revocation list or the key set is too stale.
    #[error("revocation status is temporarily unavailable")]
    Stale,
    /// Keys or revocations have not been loaded yet since the start.
    #[error("access tokens cannot be verified yet")]
    NotReady,
}

impl VerifyError {
    /// Whether the same token may be accepted later: answer 503 with `Retry-After`, not 401, which
    /// would log the user out.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Stale | Self::NotReady)
    }
}

impl Verifier {
    /// Starts the settings of a verifier for this issuer: exactly Doorward's `public_url`.
    #[must_use]
    pub fn builder(issuer: &str) -> Builder {
        Builder::new(issuer)
    }

    fn new(shared: Arc<Shared>, tasks: [AbortHandle; 2]) -> Self {
        Self(Arc::new(RunningVerifier { shared, tasks }))
    }

    /// Returns the claims of a token that is acceptable now. It does no I/O and does not block.
    ///
    /// # Errors
    /// [`VerifyError`]. For [`TokenError::UnknownKey`] the key set is fetched in the background.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        let shared = &self.0.shared;
        shared.verify(token).inspect_err(|error| {
            if is_unknown_key(error) {
                shared.keys.refetch();
            }
        })
    }

    /// The same, but a token with an unknown key waits until the key set is fetched, at most 3
    /// seconds, and is then verified again. Most tokens do not wait.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn verify_or_refetch(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        let shared = &self.0.shared;
        let first = shared.verify(token);
        if first.as_ref().is_err_and(is_unknown_key)
            && let Some(mut fetched) = shared.keys.refetch()
            && let Ok(Ok(())) = tokio::time::timeout(REFETCH_TIMEOUT, fetched.changed()).await
        {
            return shared.verify(token);
        }
        first
    }

    /// The staleness: how long ago the list was last known to be complete. [`Duration::MAX`] before
    /// the first time, and while there are more than [`Builder::max_revocations`].
    #[must_use]
    pub fn staleness(&self) -> Duration {
        self.0.shared.revoked.staleness().unwrap_or(Duration::MAX)
    }

    /// Whether valid tokens are accepted now: keys and revocations are loaded, and not too old for
    /// the policy.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.shared.is_ready()
    }

    /// Waits until [`Verifier::is_ready`], without a limit: use a timeout to do something else
    /// meanwhile, and [`Verifier::last_error`] for the cause.
    pub async fn ready(&self) {
        let mut progress = self.0.shared.progress.subscribe();
        while !self.is_ready() {
            // The sender lives as long as this verifier.
            let _ = progress.changed().await;
        }
    }

    /// The current error of the key set or the feed, for a log or a status page; `None` when there
    /// is none.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        let last_error = self.0.shared.last_error();
        let texts: Vec<String> =
            last_error.iter().map(|(task, text)| format!("{task}: {text}")).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { policy, revoked, verified, .. } = &*self.0.shared;
        f.debug_struct("Verifier")
            .field("issuer", &policy.expected.issuer)
            .field("audience", &policy.expected.audience)
            .field("staleness", &revoked.staleness())
            .field("revocations", &revoked.len())
            .field("cached_tokens", &verified.len())
            .finish_non_exhaustive()
    }
}

const fn is_unknown_key(error: &VerifyError) -> bool {
    matches!(error, VerifyError::Token(TokenError::UnknownKey(_)))
}

/// The requirements for tokens.
struct Policy {
    expected: Expected,
    max_staleness: Duration,
    when_stale: OnStale,
}

/// The state that callers read and tasks write.
struct Shared {
    policy: Policy,
    clock: Clock,
    keys: KeyCache,
    revoked: RevocationList,
    verified: VerifiedTokenCache<VerifiedToken>,
    progress: watch::Sender<()>,
    last_error: Mutex<BTreeMap<&'static str, String>>,
}

/// A token with a valid signature.
struct VerifiedToken {
    signed: Signed,
    /// The ids by which it can be revoked.
    ids: Vec<Box<str>>,
}

impl From<Signed> for VerifiedToken {
    fn from(signed: Signed) -> Self {
        Self { ids: revocable_ids(&signed), signed }
    }
}

impl AsRef<Signed> for VerifiedToken {
    fn as_ref(&self) -> &Signed {
        &self.signed
    }
}

/// The ids that revoke a token, in the form of the feed.
fn revocable_ids(Signed { claims, key, .. }: &Signed) -> Vec<Box<str>> {
    let session = claims.sid.map(|sid| sid.hyphenated().to_string());
    let ids = [key.kid().to_owned(), claims.jti.to_string(), claims.client_id.clone()];
    ids.into_iter().chain(session).map(String::into_boxed_str).collect()
}

impl Shared {
    fn new(policy: Policy, max_revocations: usize, cached_tokens: usize, clock: Clock) -> Self {
        Self {
            keys: KeyCache::new(clock.clone()),
            revoked: RevocationList::new(max_revocations, policy.expected.leeway, clock.clone()),
            verified: VerifiedTokenCache::new(cached_tokens),
            progress: watch::Sender::new(()),
            last_error: Mutex::default(),
            policy,
            clock,
        }
    }

    /// The order matters: a forgery is reported as one also while the list is stale, and a listed
    /// token is revoked however old the list is.
    fn verify(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        let keys = self.keys.current().ok_or(VerifyError::NotReady)?;
        let token = self.verified.verify_signature(token, |kid| keys.key(kid))?;
        token.signed.check_claims(&self.policy.expected, self.clock.now())?;
        self.check_revocation(&token, &keys)?;
        Ok(Arc::clone(&token.signed.claims))
    }

    fn check_revocation(&self, token: &VerifiedToken, keys: &KeySet) -> Result<(), VerifyError> {
        match self.revoked.status_of(&token.ids) {
            TokenStatus::Revoked => Err(VerifyError::Revoked),
            TokenStatus::Unknown => Err(VerifyError::NotReady),
            TokenStatus::NotRevoked(age) if self.is_too_old(age) || self.keys.are_too_old(keys) => {
                Err(VerifyError::Stale)
            }
            TokenStatus::NotRevoked(_) => Ok(()),
        }
    }

    fn is_too_old(&self, age: Duration) -> bool {
        self.policy.when_stale == OnStale::FailClosed && age > self.policy.max_staleness
    }

    fn is_ready(&self) -> bool {
        self.keys.current().is_some_and(|set| !self.keys.are_too_old(&set))
            && self.revoked.staleness().is_some_and(|age| !self.is_too_old(age))
    }

    /// Records the success of a task, or its error.
    fn report(&self, task: &'static str, failure: Option<String>) {
        let mut last_error = self.last_error();
        match failure {
            Some(text) if last_error.get(task) != Some(&text) => {
                warn!(task, error = text, "the connection to the issuer failed");
                last_error.insert(task, text);
            }
            Some(_) => {}
            None => {
                if last_error.remove(task).is_some() {
                    info!(task, "the connection to the issuer is restored");
                }
            }
        }
        drop(last_error);
        self.progress.send_replace(());
    }

    fn last_error(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
