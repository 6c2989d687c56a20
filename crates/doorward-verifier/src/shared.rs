//! The state that callers read and tasks write, and the verification itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_tokens::cache::VerifiedTokenCache;
use doorward_tokens::clock::Clock;
use doorward_tokens::{Claims, Expected, Signed};
use tokio::sync::watch;
use tracing::{info, warn};

use super::keys::{KeyCache, KeySet};
use super::revocation_list::{RevocationList, TokenStatus};
use super::{StalePolicy, VerifyError};

/// The requirements for tokens.
pub(super) struct Policy {
    pub(super) expected: Expected,
    pub(super) max_staleness: Duration,
    pub(super) when_stale: StalePolicy,
}

/// The state that callers read and tasks write.
pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) clock: Clock,
    pub(super) keys: KeyCache,
    pub(super) revoked: RevocationList,
    pub(super) verified: VerifiedTokenCache<VerifiedToken>,
    pub(super) progress: watch::Sender<()>,
    pub(super) last_error: Mutex<BTreeMap<&'static str, String>>,
}

/// A token with a valid signature.
pub(super) struct VerifiedToken {
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
    pub(super) fn new(
        policy: Policy,
        max_revocations: usize,
        cached_tokens: usize,
        clock: Clock,
    ) -> Self {
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
    pub(super) fn verify(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
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
        self.policy.when_stale == StalePolicy::FailClosed && age > self.policy.max_staleness
    }

    pub(super) fn is_ready(&self) -> bool {
        self.keys.current().is_some_and(|set| !self.keys.are_too_old(&set))
            && self.revoked.staleness().is_some_and(|age| !self.is_too_old(age))
    }

    /// Records the success of a task, or its error.
    pub(super) fn report(&self, task: &'static str, failure: Option<String>) {
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

    pub(super) fn last_error(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
