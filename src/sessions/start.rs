//! Starting a session, within the limit of the user's live sessions.

use diesel::QueryResult;
use serde_json::{Map, Value};

use super::issue::AccessGrant;
use super::queries::{self, NewSession};
use super::rotation::EndReason;
use super::termination::end_some;
use super::{Authentication, Grant, Sessions};
use crate::audit::{self, Event, EventKind};
use crate::clients::ClientSettings;
use crate::clock::Timestamp;
use crate::database::{Id, Tx};
use crate::refresh_token::{FamilySecret, RefreshToken};

/// The subject, roles, custom claims and authentication that a session's tokens carry.
#[derive(Clone, Debug)]
pub struct Subject {
    pub(super) user: Id,
    pub(super) roles: Vec<String>,
    pub(super) ext: Option<Map<String, Value>>,
    /// When and how the user was last authenticated.
    pub(super) authentication: Option<Authentication>,
}

impl Subject {
    /// A subject from the columns of its account; `claims` is a JSON object.
    #[must_use]
    pub fn new(
        user: Id,
        roles: Vec<String>,
        claims: Option<&str>,
        authentication: Option<Authentication>,
    ) -> Self {
        let ext = claims.and_then(|text| {
            let parsed = serde_json::from_str(text);
            parsed.inspect_err(|_| tracing::error!(%user, "the custom claims are not JSON")).ok()
        });
        Self { user, roles, ext, authentication }
    }

    /// The same subject with another authentication.
    #[must_use]
    pub fn authenticated(self, authentication: Authentication) -> Self {
        Self { authentication: Some(authentication), ..self }
    }
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

impl Sessions {
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
            authentication: subject.authentication.as_ref(),
        };
        queries::insert(tx.connection(), &session)?;
        let started =
            Event::new(EventKind::SessionStarted).with_user(subject.user).with_session(id);
        audit::record(tx, started.with_address(device.address.as_deref()), now)?;
        let mut subject = subject.clone();
        subject.authentication = self.in_tokens(subject.authentication, now);
        let access = AccessGrant {
            subject,
            session: id.uuid(),
            client_id: client_id.to_owned(),
            granted_at: now,
            expires_at,
            lifetime: self.policy.lifetime(client),
        };
        let retry_window = self.policy.window(client);
        Ok(Grant { token: RefreshToken::first(id.uuid(), family), access, retry_window })
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
