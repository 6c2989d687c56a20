//! Sessions: started by a login, continued by refreshes, ended by a logout, a token theft, a
//! password change or a timeout.
//!
//! A session is one row; a refresh updates it and adds none. One pure function,
//! [`rotation::decide`], decides the meaning of a refresh token; [`refresh`] applies the decision.
//! Ending a session also puts its id on the blocklist, in the same unit of work, so its access
//! tokens are revoked with it.

pub mod authenticate;
mod authentication;
pub mod client_credentials;
mod devices;
pub mod introspection;
mod issue;
mod listing;
mod log_out;
pub mod metrics;
mod parsing;
mod policy;
mod queries;
pub mod refresh;
mod replacement;
pub mod rotation;
mod start;
mod termination;
mod trusted_clock;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use diesel::QueryResult;

use crate::audit::Audit;
use crate::clock::{Clock, Timestamp};
use crate::database::{AnyConnection, Database, StoreError};
use crate::keys::Keys;
use crate::mail::Mail;
use crate::refresh_token::{RefreshToken, TagKeys};
use crate::revocations::Revocations;
use crate::secret::equal;
use crate::tokens::cache::VerifiedTokenCache;

pub use authentication::{AccessToken, AuthMethods, Authentication};
pub use devices::{DeviceToken, KnownSource, erase_devices, record_password_set};
pub use issue::{AccessGrant, Grant, IssueError, TokenTexts, Tokens};
pub use listing::{Session, delete_batch_of, live_of};
pub use log_out::{LogOutError, SessionScope};
pub use policy::SessionPolicy;
pub use replacement::ReplacedSessions;
pub use start::{Device, Subject};
pub use termination::{
    EndCause, count_of, end_every_session, end_session, end_sessions_of, owner_of,
};
pub use trusted_clock::ClockSkewed;

use metrics::{RefreshCounters, refresh_counters};

/// The maximum number of sessions that one unit of work deletes; a purge deletes as many revoked
/// ones and as many timed-out ones.
const PURGE_BATCH: i64 = 200;

/// Access tokens in [`VerifiedTokenCache`]: 2.4 MB of the 64 MiB that the service may take.
const VERIFIED_TOKENS: usize = 4_000;

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
    mail: Mail,
    refreshes: RefreshCounters,
    verified: Arc<VerifiedTokenCache>,
    oversized: Arc<AtomicU64>,
}

impl Sessions {
    /// Creates the service from its dependencies.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "one caller, which names each of them")]
    pub fn new(
        db: Database,
        clock: Clock,
        keys: Keys,
        revocations: Revocations,
        tags: TagKeys,
        policy: SessionPolicy,
        audit: Audit,
        mail: Mail,
    ) -> Self {
        let refreshes = refresh_counters();
        let verified = Arc::new(VerifiedTokenCache::new(VERIFIED_TOKENS));
        let oversized = Arc::default();
        Self {
            db,
            clock,
            keys,
            revocations,
            tags,
            policy,
            audit,
            mail,
            refreshes,
            verified,
            oversized,
        }
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
}

/// The row of this token, found by its session id and family secret.
fn find_session(
    connection: &mut AnyConnection,
    token: &RefreshToken,
) -> QueryResult<Option<queries::SessionRow>> {
    let row = queries::find(connection, token.session.into())?;
    Ok(row.filter(|row| equal(&row.family_hash, &token.family_digest())))
}
