//! Sessions: started by a login, continued by refreshes, ended by a logout, a token theft, a
//! password change or a timeout.
//!
//! A session is one row; a refresh updates it and adds none. One pure function,
//! [`rotation::decide`], decides the meaning of a refresh token; [`refresh`] applies the decision.
//! Ending a session also puts its id on the blocklist, in the same unit of work, so its access
//! tokens are revoked with it.

pub mod authenticate;
pub mod client_credentials;
mod devices;
pub mod introspection;
mod listing;
pub mod metrics;
mod queries;
pub mod refresh;
mod replacement;
pub mod rotation;
mod termination;
mod trusted_clock;

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use serde::Serialize;

use crate::audit::{self, Audit, Event, EventKind};
use crate::clients::ClientSettings;
use crate::clock::{Clock, Timestamp};
use crate::database::{AnyConnection, Database, Id, StoreError, Tx};
use crate::keys::Keys;
use crate::refresh_token::{FamilySecret, Malformed, RefreshToken, TagKeys};
use crate::revocations::Revocations;
use crate::secret::{Secret, equal, random_bytes};
use crate::tokens::cache::VerifiedTokenCache;
use crate::tokens::{Claims, Expected, TokenId};

pub use devices::{DeviceToken, KnownSource, record_password_set};
pub use listing::{delete_batch_of, live_of};
pub use replacement::ReplacedSessions;
pub use termination::{
    EndCause, LogOutError, Scope, count_of, end_every_session, end_session, end_sessions_of,
};
pub use trusted_clock::ClockSkewed;

use metrics::{RefreshCounters, refresh_counters};
use queries::NewSession;
use rotation::EndReason;
use termination::end_some;

/// The number of live and ended sessions that a purge checks in one unit of work.
const PURGE_BATCH: i64 = 200;

/// The maximum number of sessions that one login replaces: a browser has one, and leftovers of late
/// responses.
const MAX_REPLACED: usize = 16;

/// Access tokens in [`VerifiedTokenCache`]: 2.4 MB of the 64 MiB that the service may take.
const VERIFIED_TOKENS: usize = 4_000;

/// The lifetimes of sessions and tokens. Each is a setting of `[sessions]` or `[tokens]`.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    /// The idle timeout of a session.
    pub idle_timeout: Duration,
    /// The absolute timeout of a session.
    pub absolute_timeout: Duration,
    /// How long after a rotation the previous token is accepted without proof; zero for never.
    pub retry_window: Duration,
    /// The maximum number of a user's live sessions.
    pub max_per_user: u32,
    /// How long an ended session is stored.
    pub ended_retention: Duration,
    /// How long an address counts as known after a session was used from it.
    pub known_address_lifetime: Duration,
    /// `iss` and `aud` of access tokens, and the leeway of their verification here.
    pub expected: Expected,
    /// The lifetime of an access token.
    pub token_lifetime: Duration,
}

impl SessionPolicy {
    /// The lifetime of a client's access tokens. It may shorten the setting, but not extend it: a
    /// blocklist row is kept for the setting's lifetime.
    fn lifetime(&self, client_settings: ClientSettings) -> Duration {
        client_settings
            .token_lifetime
            .map_or(self.token_lifetime, |own| own.min(self.token_lifetime))
    }

    /// The retry window of a client's sessions, at most the lifetime of its access tokens.
    fn window(&self, client_settings: ClientSettings) -> Duration {
        client_settings
            .retry_window
            .unwrap_or(self.retry_window)
            .min(self.lifetime(client_settings))
    }
}

/// Sessions and their tokens. Clones share everything.
#[derive(Clone)]
pub struct Sessions {
    db: Database,
    clock: Clock,
    keys: Keys,
    revocations: Revocations,
    tags: TagKeys,
    policy: SessionPolicy,
    audit: Audit,
    refreshes: RefreshCounters,
    verified: Arc<VerifiedTokenCache>,
}

/// The subject and roles that a session's tokens carry.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The account.
    pub user: Id,
    /// Roles that the tokens carry.
    pub roles: Vec<String>,
}

/// Data about the device, by which the owner recognises a session.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// A label that the client chose.
    pub label: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The client's address, or its network where single addresses are not significant (IPv6).
    pub address: Option<String>,
}

/// The response to a login and a refresh (RFC 6749 5.1, with additional members for clients).
#[derive(Serialize)]
pub struct Tokens {
    token_type: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    access_token: String,
    expires_in: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    refresh_token: String,
    refresh_expires_in: u64,
    generation: u32,
    session_id: Id,
}

/// The two tokens themselves, for a client that gets them outside the response's body.
pub struct TokenTexts {
    /// The access token.
    pub access: Secret<String>,
    /// Seconds until it expires.
    pub expires_in: u64,
    /// The refresh token.
    pub refresh: Secret<String>,
    /// Seconds until the session reaches its idle timeout.
    pub refresh_expires_in: u64,
    /// The session that both belong to.
    pub session: Id,
    /// The refresh token's generation.
    pub generation: u32,
}

/// A session in its owner's list.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// Its id, the `sid` of its tokens.
    pub id: Id,
    /// The label given at login.
    pub label: Option<String>,
    /// The client's user agent.
    pub user_agent: Option<String>,
    /// The address that it was last used from.
    pub address: Option<String>,
    /// When the login took place.
    pub created_at: Timestamp,
    /// When it was last refreshed.
    pub last_seen_at: Timestamp,
    /// When it reaches its idle timeout.
    pub expires_at: Timestamp,
    /// When it reaches its absolute timeout.
    #[serde(skip)]
    pub ends_at: Timestamp,
    /// Whether it is the caller's own session.
    pub current: bool,
}

/// Why tokens cannot be issued, although the session is live.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signing key failed.
    #[error("the access token cannot be signed")]
    Signing,
    /// Its times would be wrong.
    #[error(transparent)]
    Clock(#[from] ClockSkewed),
}

/// Tokens that a unit of work has granted: a session, a generation and a time.
#[derive(Debug)]
pub struct Grant {
    subject: Subject,
    token: RefreshToken,
    client_id: String,
    granted_at: Timestamp,
    expires_at: Timestamp,
    /// The lifetime of the access token, unless the session ends earlier.
    lifetime: Duration,
}

impl Tokens {
    /// Moves the tokens out; the rest, also when serialised, contains neither.
    pub fn take_texts(&mut self) -> TokenTexts {
        TokenTexts {
            access: Secret::new(mem::take(&mut self.access_token)),
            expires_in: self.expires_in,
            refresh: Secret::new(mem::take(&mut self.refresh_token)),
            refresh_expires_in: self.refresh_expires_in,
            session: self.session_id,
            generation: self.generation,
        }
    }
}

impl Sessions {
    /// Creates the service from its dependencies.
    #[must_use]
    pub fn new(
        db: Database,
        clock: Clock,
        keys: Keys,
        revocations: Revocations,
        tags: TagKeys,
        policy: SessionPolicy,
        audit: Audit,
    ) -> Self {
        let refreshes = refresh_counters();
        let verified = Arc::new(VerifiedTokenCache::new(VERIFIED_TOKENS));
        Self { db, clock, keys, revocations, tags, policy, audit, refreshes, verified }
    }

    /// Starts a session of a public client with these settings, in the caller's unit of work, which
    /// has locked the user's row by updating it.
    ///
    /// # Errors
    /// The database error.
    pub fn start(
        &self,
        tx: &mut Tx<'_>,
        subject: &Subject,
        client_id: &str,
        client: ClientSettings,
        device: &Device,
        now: Timestamp,
    ) -> QueryResult<Grant> {
        self.evict_least_used_sessions(tx, subject.user, now)?;
        let family = FamilySecret::generate();
        let id = Id::new(now);
        let ends_at = now.plus(self.policy.absolute_timeout);
        let expires_at = ends_at.min(now.plus(self.policy.idle_timeout));
        let session = NewSession {
            id,
            user_id: subject.user,
            client_id,
            family_hash: family.digest(),
            created_at: now,
            expires_at,
            ends_at,
            device,
        };
        queries::insert(tx.connection(), &session)?;
        let started =
            Event::new(EventKind::SessionStarted).with_user(subject.user).with_session(id);
        audit::record(tx, started.with_address(device.address.as_deref()), now)?;
        Ok(Grant {
            subject: subject.clone(),
            token: RefreshToken::first(id.uuid(), family),
            client_id: client_id.to_owned(),
            granted_at: now,
            expires_at,
            lifetime: self.policy.lifetime(client),
        })
    }

    /// The client that a session belongs to.
    ///
    /// # Errors
    /// The database error; "not found" when there is no such session.
    pub fn client_of(&self, tx: &mut Tx<'_>, session: Id) -> QueryResult<String> {
        queries::client_of(tx.connection(), session)
    }

    /// The blocklist used when sessions end.
    pub(crate) const fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Signs and encodes the tokens that a unit of work has granted.
    ///
    /// # Errors
    /// [`IssueError::Signing`].
    pub fn issue(&self, grant: &Grant) -> Result<Tokens, IssueError> {
        let at = grant.granted_at;
        let lifetime = grant.lifetime.min(grant.expires_at.since(at));
        let session = Id::from(grant.token.session);
        let access_token = self.sign(&Claims {
            sid: Some(session.uuid()),
            roles: grant.subject.roles.clone(),
            ..self.claims(grant.subject.user, grant.client_id.clone(), at, lifetime)
        })?;
        Ok(Tokens {
            token_type: "Bearer",
            access_token,
            expires_in: lifetime.as_secs(),
            refresh_token: self.tags.encode(&grant.token),
            refresh_expires_in: grant.expires_at.since(at).as_secs(),
            generation: grant.token.generation,
            session_id: session,
        })
    }

    /// The claims that every access token has.
    fn claims(&self, sub: Id, client_id: String, at: Timestamp, lifetime: Duration) -> Claims {
        Claims {
            iss: self.policy.expected.issuer.clone(),
            sub: sub.uuid(),
            aud: self.policy.expected.audience.as_str().into(),
            iat: at.unix_seconds(),
            exp: at.plus(lifetime).unix_seconds(),
            jti: TokenId::from_bits(u64::from_be_bytes(random_bytes())),
            client_id,
            sid: None,
            scope: None,
            roles: Vec::new(),
        }
    }

    fn sign(&self, claims: &Claims) -> Result<String, IssueError> {
        self.keys.signing().sign(claims).map_err(|error| {
            tracing::error!(%error, "an access token cannot be signed");
            IssueError::Signing
        })
    }

    /// Parses a refresh token and verifies its tag; the database is not asked.
    ///
    /// # Errors
    /// [`Malformed`] for everything else.
    pub fn parse_token(&self, text: &str) -> Result<RefreshToken, Malformed> {
        self.tags.decode(text)
    }

    /// Parses the newest of several refresh tokens: of the session that began last, the one with
    /// the highest generation. Malformed ones are ignored.
    ///
    /// # Errors
    /// [`Malformed`] when none of them is valid.
    pub fn parse_newest(&self, texts: &[&str]) -> Result<RefreshToken, Malformed> {
        let tokens = texts.iter().filter_map(|text| self.parse_token(text).ok());
        // A session's id begins with the time of its creation.
        tokens.max_by_key(|token| (token.session, token.generation)).ok_or(Malformed)
    }

    /// Parses several refresh tokens and returns those with valid tags, one per session, the newest
    /// first, at most as many as a login may replace.
    #[must_use]
    pub fn parse_all(&self, texts: &[&str]) -> Vec<RefreshToken> {
        let mut tokens: Vec<_> =
            texts.iter().filter_map(|text| self.parse_token(text).ok()).collect();
        tokens.sort_by_key(|token| std::cmp::Reverse((token.session, token.generation)));
        tokens.dedup_by_key(|token| token.session);
        tokens.truncate(MAX_REPLACED);
        tokens
    }

    /// Erases personal data from the user's sessions, for a closed account.
    ///
    /// # Errors
    /// The database error.
    pub fn erase_devices(&self, tx: &mut Tx<'_>, user: Id) -> QueryResult<()> {
        queries::erase_devices(tx.connection(), user)
    }

    /// Deletes a batch of ended sessions that are past their retention at `now`.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be deleted.
    pub async fn purge(&self, now: Timestamp) -> Result<bool, StoreError> {
        let before = now.minus(self.policy.ended_retention);
        let deleted = self
            .db
            .write(move |tx| queries::delete_old(tx.connection(), before, PURGE_BATCH))
            .await?;
        Ok(deleted > 0)
    }

    /// Ends sessions so that one more stays within the limit: never refreshed ones first, then the
    /// least recently used.
    fn evict_least_used_sessions(
        &self,
        tx: &mut Tx<'_>,
        user: Id,
        now: Timestamp,
    ) -> QueryResult<()> {
        let live = queries::count_live(tx.connection(), user, now)?;
        let surplus = live + 1 - i64::from(self.policy.max_per_user);
        if surplus > 0 {
            let ids = queries::least_used(tx.connection(), user, now, surplus)?;
            end_some(&self.revocations, tx, &ids, EndReason::TooManySessions.into(), now)?;
        }
        Ok(())
    }
}

/// The row of this token, found by its session id and family secret.
fn find_session(
    connection: &mut AnyConnection,
    token: &RefreshToken,
) -> QueryResult<Option<queries::SessionRow>> {
    let row = queries::find(connection, token.session.into())?;
    Ok(row.filter(|row| equal(&row.family_hash, &token.family_digest())))
}
