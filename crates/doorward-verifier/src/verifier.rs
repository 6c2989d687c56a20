//! The verifier that callers hold.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use doorward_tokens::{Claims, TokenError};
use tokio::task::AbortHandle;

use super::shared::Shared;
use super::{Builder, VerifyError};

/// How long [`Verifier::verify_or_refetch`] waits for the key set.
const REFETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// Verifies access tokens from memory. Clones are cheap and share everything but
/// [`Verifier::max_auth_age`].
#[derive(Clone)]
pub struct Verifier {
    running: Arc<RunningVerifier>,
    max_auth_age: Option<Duration>,
}

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

impl Verifier {
    /// Returns a builder for a verifier of this issuer: exactly Doorward's `public_url`.
    #[must_use]
    pub fn builder(issuer: &str) -> Builder {
        Builder::new(issuer)
    }

    pub(super) fn new(shared: Arc<Shared>, tasks: [AbortHandle; 2]) -> Self {
        Self { running: Arc::new(RunningVerifier { shared, tasks }), max_auth_age: None }
    }

    /// A verifier for operations that need a recent login: it also requires that the user was
    /// authenticated at most this long ago, by the claim `auth_time` (RFC 9470). It shares
    /// everything with this one. Other tokens are rejected with
    /// [`VerifyError::InsufficientAuthentication`], those without the claim too: clients prove the
    /// password, and the second factor if there is one, at `/me/reauthenticate`.
    #[must_use]
    pub fn max_auth_age(&self, max_age: Duration) -> Self {
        Self { running: Arc::clone(&self.running), max_auth_age: Some(max_age) }
    }

    /// Returns the claims of a token that is acceptable now. It does no I/O and does not block.
    ///
    /// # Errors
    /// [`VerifyError`]. For [`TokenError::UnknownKey`] the key set is fetched in the background.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        let shared = &self.running.shared;
        let claims = shared.verify(token).inspect_err(|error| {
            if is_unknown_key(error) {
                shared.keys.refetch();
            }
        });
        self.ensure_recent(claims?)
    }

    /// Verifies a token as [`Verifier::verify`] does, but waits at most 3 seconds for the key set
    /// if its key is unknown, and then verifies it again. Other tokens do not wait.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn verify_or_refetch(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        let shared = &self.running.shared;
        let first = shared.verify(token);
        if first.as_ref().is_err_and(is_unknown_key)
            && let Some(mut fetched) = shared.keys.refetch()
            && let Ok(Ok(())) = tokio::time::timeout(REFETCH_TIMEOUT, fetched.changed()).await
        {
            return self.ensure_recent(shared.verify(token)?);
        }
        self.ensure_recent(first?)
    }

    /// Checks the age of the authentication, for each request: verified tokens are cached.
    fn ensure_recent(&self, claims: Arc<Claims>) -> Result<Arc<Claims>, VerifyError> {
        let Some(max_age) = self.max_auth_age else { return Ok(claims) };
        let Shared { policy, clock, .. } = &*self.running.shared;
        if claims.is_authenticated_within(max_age, policy.expected.leeway, clock.now()) {
            return Ok(claims);
        }
        Err(VerifyError::InsufficientAuthentication { max_age })
    }

    /// The staleness: how long ago the list was last known to be complete. [`Duration::MAX`] before
    /// the first time, and while there are more than [`Builder::max_revocations`].
    #[must_use]
    pub fn staleness(&self) -> Duration {
        self.running.shared.revoked.staleness().unwrap_or(Duration::MAX)
    }

    /// Whether valid tokens are accepted now: keys and revocations are loaded, and not too old for
    /// the policy.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.running.shared.is_ready()
    }

    /// Waits until [`Verifier::is_ready`], without a limit: use a timeout to do something else
    /// meanwhile, and [`Verifier::last_error`] for the cause.
    pub async fn ready(&self) {
        let mut progress = self.running.shared.progress.subscribe();
        while !self.is_ready() {
            // The sender lives as long as this verifier.
            let _ = progress.changed().await;
        }
    }

    /// The current error of the key set or the feed, for a log or a status page; `None` when there
    /// is none.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        let last_error = self.running.shared.last_error();
        let texts: Vec<String> =
            last_error.iter().map(|(task, text)| format!("{task}: {text}")).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { policy, revoked, verified, .. } = &*self.running.shared;
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
