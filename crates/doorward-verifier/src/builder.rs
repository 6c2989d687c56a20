//! What a verifier is told, and how it starts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use url::{Host, Url};

use super::issuer::{DiscoveryError, FetchError, Issuer};
use super::{Policy, Shared, Verifier, keys, revocation_feed};
use doorward_tokens::Expected;
use doorward_tokens::clock::Clock;

/// The least that `max_staleness` may be: the feed says only every so often that it is complete.
const MIN_STALENESS: Duration = Duration::from_secs(5);

/// What to do with a token while the list of revocations may be out of date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStale {
    /// Refuse every token for the time being, with [`VerifyError::Stale`](super::VerifyError).
    #[default]
    FailClosed,
    /// Go on with the list as it was. A logout that happened meanwhile is not known.
    FailOpen,
}

/// Why a verifier cannot be started. Another attempt with the same settings would fare the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The issuer is no http(s) URL, or has a query or fragment.
    #[error(
        "the issuer must be an https URL without query and fragment, as in https://login.example.com"
    )]
    Issuer,
    /// The issuer is reached without TLS, and is not this machine.
    #[error(
        "the issuer is reached without TLS: use https, or say allow_http() if the network is yours"
    )]
    PlainHttp,
    /// No audience was named.
    #[error("name the audience that tokens must be meant for")]
    Audience,
    /// No client was named.
    #[error("name the client (its id and secret) that may read the feed of revocations")]
    Client,
    /// `max_staleness` is too short.
    #[error("max_staleness must be at least {} seconds", MIN_STALENESS.as_secs())]
    MaxStaleness,
    /// There is no tokio runtime for the background tasks.
    #[error("a verifier must be started within a tokio runtime")]
    Runtime,
    /// The HTTP client could not be made; the text says why.
    #[error("no HTTP client: {0}")]
    Http(String),
    /// The issuer's metadata were read and are not to be used.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}

/// The settings of a [`Verifier`]: [`Verifier::builder`] makes one, [`Builder::start`] uses it.
#[derive(Clone)]
pub struct Builder {
    issuer: String,
    audience: Option<String>,
    client: Option<(String, String)>,
    leeway: Duration,
    max_staleness: Duration,
    when_stale: OnStale,
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
            when_stale: OnStale::default(),
            max_revocations: 1_000_000,
            cached_tokens: 10_000,
            may_use_http: false,
            clock: Clock::system(),
        }
    }

    /// The name that must stand in a token's `aud`: what Doorward's setting `audience` says.
    /// Required.
    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience = Some(audience.to_owned());
        self
    }

    /// The confidential client that may read the feed, as `doorward client add` has printed it.
    /// Required.
    #[must_use]
    pub fn client(mut self, id: &str, secret: &str) -> Self {
        self.client = Some((id.to_owned(), secret.to_owned()));
        self
    }

    /// How far this machine's clock may be off from Doorward's: 30 seconds, if nothing is said. A
    /// token is accepted so much longer than it says.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// How old the list of revocations may be: 30 seconds, if nothing is said; 5 at least. It is 2
    /// seconds old at most as long as the issuer can be reached.
    #[must_use]
    pub fn max_staleness(mut self, limit: Duration) -> Self {
        self.max_staleness = limit;
        self
    }

    /// What happens when it is older: [`OnStale::FailClosed`], if nothing is said.
    #[must_use]
    pub fn when_stale(mut self, policy: OnStale) -> Self {
        self.when_stale = policy;
        self
    }

    /// How many revoked ids are kept at most: a million, if nothing is said, which take some 100
    /// bytes each. When there are more, the list is stale until there are fewer.
    #[must_use]
    pub fn max_revocations(mut self, count: usize) -> Self {
        self.max_revocations = count;
        self
    }

    /// How many verified tokens are remembered, so that the next look at them costs no signature:
    /// 10,000, if nothing is said, which take some 1 KiB each. 0 remembers none.
    #[must_use]
    pub fn cached_tokens(mut self, count: usize) -> Self {
        self.cached_tokens = count;
        self
    }

    /// Lets the issuer be reached without TLS although it is not on this machine. Whoever can
    /// change what passes on that network can then make up keys, and with them tokens; whoever can
    /// read it knows the client's secret.
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
    /// It asks the issuer for its metadata first, to find wrong settings while somebody looks. An
    /// issuer that cannot be reached is no error: the tasks go on trying, and until they succeed
    /// the verifier accepts nothing ([`VerifyError::NotReady`](super::VerifyError)). So this takes
    /// as long as one request, 10 seconds at most; [`Verifier::ready`] waits for the rest.
    ///
    /// # Errors
    /// [`StartError`] for settings, or metadata, that no patience would mend.
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
