//! The settings and the start of a verifier.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use url::{Host, Url};

use super::issuer::{DiscoveryError, FetchError, Issuer};
use super::{Policy, Shared, Verifier, keys, revocation_feed};
use doorward_tokens::Expected;
use doorward_tokens::clock::Clock;

/// The minimum of `max_staleness`: the feed reports only periodically that it is complete.
const MIN_STALENESS: Duration = Duration::from_secs(5);

/// The treatment of tokens while the revocation list may be out of date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StalePolicy {
    /// Reject every token temporarily, with [`VerifyError::Stale`](super::VerifyError).
    #[default]
    FailClosed,
    /// Continue with the list as it is. Logouts in the meantime are not known.
    FailOpen,
}

/// Why a verifier cannot be started. A retry with the same settings would fail as well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The issuer is not a valid http(s) URL, or has a query or fragment.
    #[error(
        "the issuer must be an https URL without query and fragment, as in https://login.example.com"
    )]
    Issuer,
    /// The issuer is reached without TLS, and is not on this machine.
    #[error(
        "the issuer is reached without TLS: use https, or call allow_http() if you trust the \
         network"
    )]
    PlainHttp,
    /// The audience is missing.
    #[error("set the audience that tokens must have")]
    Audience,
    /// The client is missing.
    #[error("set the client (its id and secret) that may read the revocation feed")]
    Client,
    /// `max_staleness` is too short.
    #[error("max_staleness must be at least {} seconds", MIN_STALENESS.as_secs())]
    MaxStaleness,
    /// There is no tokio runtime for the background tasks.
    #[error("a verifier must be started within a tokio runtime")]
    Runtime,
    /// The HTTP client could not be created; the text says why.
    #[error("no HTTP client: {0}")]
    Http(String),
    /// The issuer's metadata were read and are unusable.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}

/// The settings of a [`Verifier`]: [`Verifier::builder`] creates them, [`Builder::start`] uses
/// them.
#[derive(Clone)]
pub struct Builder {
    issuer: String,
    audience: Option<String>,
    client: Option<(String, String)>,
    leeway: Duration,
    max_staleness: Duration,
    when_stale: StalePolicy,
    max_revocations: usize,
    cached_tokens: usize,
    may_use_http: bool,
    clock: Clock,
}

impl Builder {
    pub(super) fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: None,
            client: None,
            leeway: Duration::from_secs(30),
            max_staleness: Duration::from_secs(30),
            when_stale: StalePolicy::default(),
            max_revocations: 1_000_000,
            cached_tokens: 10_000,
            may_use_http: false,
            clock: Clock::system(),
        }
    }

    /// The name that must be in a token's `aud`: the value of Doorward's setting `audience`.
    /// Required.
    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience = Some(audience.to_owned());
        self
    }

    /// The confidential client that may read the feed, as printed by `doorward client add`.
    /// Required.
    #[must_use]
    pub fn client(mut self, id: &str, secret: &str) -> Self {
        self.client = Some((id.to_owned(), secret.to_owned()));
        self
    }

    /// The tolerated difference between this machine's clock and Doorward's: 30 seconds by default.
    /// A token is accepted this much longer than its `exp`.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The maximum staleness of the revocation list: 30 seconds by default, at least 5. While the
    /// issuer can be reached, the list is at most a few seconds old.
    #[must_use]
    pub fn max_staleness(mut self, limit: Duration) -> Self {
        self.max_staleness = limit;
        self
    }

    /// The treatment of tokens while the list is older than [`Builder::max_staleness`]:
    /// [`StalePolicy::FailClosed`] by default.
    #[must_use]
    pub fn when_stale(mut self, policy: StalePolicy) -> Self {
        self.when_stale = policy;
        self
    }

    /// The maximum number of revoked ids: a million by default, of some 100 bytes each. While there
    /// are more, the list is stale.
    #[must_use]
    pub fn max_revocations(mut self, count: usize) -> Self {
        self.max_revocations = count;
        self
    }

    /// The number of verified tokens that are cached, so that verifying them again costs no
    /// signature check: 10,000 by default, of some 1 KiB each. 0 caches none.
    #[must_use]
    pub fn cached_tokens(mut self, count: usize) -> Self {
        self.cached_tokens = count;
        self
    }

    /// Allows an issuer without TLS that is not on this machine. Anybody who can change traffic on
    /// that network can then forge keys, and with them tokens; anybody who can read it learns the
    /// client's secret.
    #[must_use]
    pub fn allow_http(mut self) -> Self {
        self.may_use_http = true;
        self
    }

    /// Another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the background tasks on the tokio runtime that this is called in.
    ///
    /// It first requests the issuer's metadata, to report wrong settings at the start. An
    /// unreachable issuer is not an error: the tasks keep retrying, and until they succeed the
    /// verifier accepts nothing ([`VerifyError::NotReady`](super::VerifyError)). So this takes as
    /// long as one request, at most 10 seconds; [`Verifier::ready`] waits for the rest.
    ///
    /// # Errors
    /// [`StartError`] for settings or metadata that a retry would not fix.
    pub async fn start(self) -> Result<Verifier, StartError> {
        let url = issuer_url(&self.issuer, self.may_use_http)?;
        let audience = self.audience.filter(|name| !name.is_empty()).ok_or(StartError::Audience)?;
        let client = self.client.filter(|(id, secret)| !id.is_empty() && !secret.is_empty());
        let (client, secret) = client.ok_or(StartError::Client)?;
        if self.max_staleness < MIN_STALENESS {
            return Err(StartError::MaxStaleness);
        }
        let runtime = Handle::try_current().map_err(|_| StartError::Runtime)?;
        let clock = self.clock;
        let issuer = Issuer::new(self.issuer.clone(), url, (&client, &secret), clock.clone())
            .map_err(|error| StartError::Http(error.to_string()))?;
        let issuer = Arc::new(issuer);
        let policy = Policy {
            expected: Expected { issuer: self.issuer, audience, leeway: self.leeway },
            max_staleness: self.max_staleness,
            when_stale: self.when_stale,
        };
        let shared = Shared::new(policy, self.max_revocations, self.cached_tokens, clock);
        let shared = Arc::new(shared);
        match issuer.discover().await {
            Ok(()) => {}
            Err(FetchError::Discovery(error)) => return Err(error.into()),
            Err(error) => shared.report("keys", Some(error.to_string())),
        }
        let tasks = [
            runtime.spawn(keys::keep_fresh(Arc::clone(&shared), Arc::clone(&issuer))),
            runtime.spawn(revocation_feed::run(Arc::clone(&shared), issuer)),
        ];
        Ok(Verifier::new(shared, tasks.map(|task| task.abort_handle())))
    }
}

/// Without the secret.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("client", &self.client.as_ref().map(|(id, _)| id))
            .finish_non_exhaustive()
    }
}

fn issuer_url(text: &str, may_use_http: bool) -> Result<Url, StartError> {
    let url = Url::parse(text).map_err(|_| StartError::Issuer)?;
    let is_bare = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    match url.scheme() {
        _ if !is_bare => Err(StartError::Issuer),
        "https" => Ok(url),
        "http" if may_use_http || is_this_machine(&url) => Ok(url),
        "http" => Err(StartError::PlainHttp),
        _ => Err(StartError::Issuer),
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_reached_with_tls_or_on_this_machine() {
        for good in [
            "https://a.example",
            "https://a.example/login",
            "http://localhost:8080",
            "http://127.0.0.2",
            "http://[::1]:1",
        ] {
            assert!(issuer_url(good, false).is_ok(), "{good}");
        }
        for plain in ["http://a.example", "http://10.0.0.1", "http://localhost.example"] {
            assert_eq!(issuer_url(plain, false), Err(StartError::PlainHttp), "{plain}");
            assert!(issuer_url(plain, true).is_ok(), "{plain}");
        }
        for bad in [
            "",
            "a.example",
            "ftp://a.example",
            "https://a.example?b",
            "https://a.example#b",
            "https://user:word@a.example",
        ] {
            assert_eq!(issuer_url(bad, true), Err(StartError::Issuer), "{bad}");
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let builder = Builder::new("https://a.example").client("billing", "hush");
        assert!(!format!("{builder:?}").contains("hush"));
    }
}
