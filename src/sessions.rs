//! Sessions: started by a login, carried on by refreshes, ended by a logout, a theft, a change of
//! password or time.
//!
//! A session is one row, and a refresh changes that row and adds none. What a refresh token at hand
//! means is decided by one pure function, [`rotation::decide`]; [`refresh`] carries it out.
//! Whatever ends a session also puts its id on the blocklist, in the same unit of work, so its
//! access tokens end with it.

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

/// Sessions and past sessions that a purge looks at in one unit of work.
const PURGE_BATCH: i64 = 200;

/// Sessions that one login replaces at most: a browser has one, and leftovers of late answers.
const MAX_REPLACED: usize = 16;

/// Access tokens in [`VerifiedTokenCache`]: 2.4 MB of the 64 MiB that the service may take.
const VERIFIED_TOKENS: usize = 4_000;

/// How long things last. Each is a setting of `[sessions]` or `[tokens]`.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    /// How long a session lives without being refreshed.
    pub idle_timeout: Duration,
    /// How long a session lives at all.
    pub absolute_timeout: Duration,
    /// How long after a rotation its predecessor is answered without question; zero for never.
    pub retry_window: Duration,
    /// Live sessions that a user may have.
    pub max_per_user: u32,
    /// How long an ended session is remembered.
    pub ended_retention: Duration,
    /// How long an address counts as known after a session was used from it.
    pub known_address_lifetime: Duration,
    /// `iss` and `aud` of access tokens, and the leeway of their check here.
    pub expected: Expected,
    /// The life of an access token.
    pub token_lifetime: Duration,
}

impl SessionPolicy {
    /// The life of a client's access tokens. It may shorten the setting and not more: a row of the
    /// blocklist is kept for the longest.
    fn lifetime(&self, client_settings: ClientSettings) -> Duration {
        client_settings
            .token_lifetime
            .map_or(self.token_lifetime, |own| own.min(self.token_lifetime))
    }

    /// The retry window of a client's sessions, never more than the life of its access tokens.
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

/// Whose session it is, as far as its tokens say.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The account.
    pub user: Id,
    /// Roles that the tokens carry.
    pub roles: Vec<String>,
}

/// What a session remembers of the other end, for its owner to recognise it by.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// A name that the client chose.
    pub label: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The client's address, or its network where addresses are handed out by the network.
    pub address: Option<String>,
}

/// What a login and a refresh answer (RFC 6749 5.1, and what a client needs beside it).
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

/// The two tokens themselves, for a client that gets them another way than in the answer's body.
pub struct TokenTexts {
    /// The access token.
    pub access: Secret<String>,
    /// Seconds until it expires.
    pub expires_in: u64,
    /// The refresh token.
    pub refresh: Secret<String>,
    /// Seconds until the session ends if it is not refreshed.
    pub refresh_expires_in: u64,
    /// The session that both belong to.
    pub session: Id,
    /// The refresh token's generation.
    pub generation: u32,
}

/// A session as its owner sees it in the list.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// Its id: `sid` of its tokens.
    pub id: Id,
    /// The name that was given at login.
    pub label: Option<String>,
    /// What the client's program calls itself.
    pub user_agent: Option<String>,
    /// Where it was last seen.
    pub address: Option<String>,
    /// When somebody logged in.
    pub created_at: Timestamp,
    /// When it was last refreshed.
    pub last_seen_at: Timestamp,
    /// When it ends if it is not refreshed.
    pub expires_at: Timestamp,
    /// When it ends in any case.
    #[serde(skip)]
    pub ends_at: Timestamp,
    /// Whether it is the session that asks.
    pub current: bool,
}

/// Why tokens cannot be issued, though the session is good.
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

/// The right to tokens that a unit of work granted: a session, at a generation, at a moment.
#[derive(Debug)]
pub struct Grant {
    subject: Subject,
    token: RefreshToken,
    client_id: String,
    granted_at: Timestamp,
    expires_at: Timestamp,
    /// The life of the access token, if the session lasts.
    lifetime: Duration,
}

impl Tokens {
    /// Takes the tokens out: what is left, and serialised, tells neither.
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
    /// Puts the parts together.
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
    /// Whatever the database says.
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
    /// Whatever the database says; not found, when there is no such session.
    pub fn client_of(&self, tx: &mut Tx<'_>, session: Id) -> QueryResult<String> {
        queries::client_of(tx.connection(), session)
    }

    /// The list that its endings go on.
    pub(crate) const fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Signs and encodes what a unit of work granted.
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

    /// Reads a refresh token whose tag shows that it was issued here; the database is not asked.
    ///
    /// # Errors
    /// [`Malformed`] for everything else.
    pub fn parse_token(&self, text: &str) -> Result<RefreshToken, Malformed> {
        self.tags.decode(text)
    }

    /// Reads the newest of several refresh tokens: the one of the session that began last, and of
    /// that the highest generation. What is none is passed over.
    ///
    /// # Errors
    /// [`Malformed`] when none of them is one.
    pub fn parse_newest(&self, texts: &[&str]) -> Result<RefreshToken, Malformed> {
        let tokens = texts.iter().filter_map(|text| self.parse_token(text).ok());
        // A session's id begins with the time at which it was made.
        tokens.max_by_key(|token| (token.session, token.generation)).ok_or(Malformed)
    }

    /// Reads those of several refresh tokens whose tags are right, one of each session, the newest
    /// first, as many as a login may replace.
    #[must_use]
    pub fn parse_all(&self, texts: &[&str]) -> Vec<RefreshToken> {
        let mut tokens: Vec<_> =
            texts.iter().filter_map(|text| self.parse_token(text).ok()).collect();
        tokens.sort_by_key(|token| std::cmp::Reverse((token.session, token.generation)));
        tokens.dedup_by_key(|token| token.session);
        tokens.truncate(MAX_REPLACED);
        tokens
    }

    /// Removes what identifies a person from the user's sessions, for an account that is closed.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn erase_devices(&self, tx: &mut Tx<'_>, user: Id) -> QueryResult<()> {
        queries::erase_devices(tx.connection(), user)
    }

    /// Deletes a batch of sessions that ended longer before `now` than they are kept; whether there
    /// may be more.
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

    /// Ends as many sessions as must give way to one more: never refreshed ones first, then the
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

/// The row that this token belongs to by its id and its family secret.
fn find_session(
    connection: &mut AnyConnection,
    token: &RefreshToken,
) -> QueryResult<Option<queries::SessionRow>> {
    let row = queries::find(connection, token.session.into())?;
    Ok(row.filter(|row| equal(&row.family_hash, &token.family_digest())))
}
