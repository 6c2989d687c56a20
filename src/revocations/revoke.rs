//! Revoking: stored in a unit of work, and listed on this node after its commit.

use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;

use super::{Revocations, feed, queries};
use crate::clock::Timestamp;
use crate::database::{Id, Tx};
use crate::locks;

/// How long a revocation stays listed beyond the longest lifetime of an access token and a
/// verifier's leeway: a request that was past its check at the time of the revocation may still
/// sign a token.
const SAFETY_MARGIN: Duration = Duration::from_secs(60);

/// The additional time that revocations of tokens without a row in the database stay listed: the
/// time and the clock of the last signature are unknown, and the revoking node's clock may be a
/// month behind.
const CLIENT_MARGIN: Duration = Duration::from_secs(32 * 24 * 60 * 60);

impl Revocations {
    /// Revokes a token, a session or a client as part of a unit of work: stored with it, and
    /// effective on this node from its commit on, before its response. It is listed for the
    /// lifetime of a token from now on, by the caller's clock or the database's, whichever ends
    /// later.
    ///
    /// # Errors
    /// The database error.
    pub fn revoke(&self, tx: &mut Tx<'_>, id: Id, now: Timestamp) -> QueryResult<()> {
        self.revoke_for(tx, id, self.policy.max_token_age, now)
    }

    /// Revokes a client like [`Self::revoke`]. It is listed longer, because the client's own tokens
    /// have no row in the database.
    ///
    /// # Errors
    /// The database error.
    pub fn revoke_client(&self, tx: &mut Tx<'_>, id: Id, now: Timestamp) -> QueryResult<()> {
        self.revoke_for(tx, id, self.policy.max_token_age + CLIENT_MARGIN, now)
    }

    /// Revokes an id like [`Self::revoke`], and lists it for `life` instead of an access token's
    /// lifetime.
    ///
    /// # Errors
    /// The database error.
    pub fn revoke_for(
        &self,
        tx: &mut Tx<'_>,
        id: Id,
        life: Duration,
        now: Timestamp,
    ) -> QueryResult<()> {
        let life = life + SAFETY_MARGIN;
        let mut entry = feed::RevocationEntry { id, expires_at: self.latest(now).plus(life) };
        tx.begin()?;
        queries::insert(tx.connection(), &mut entry, life, now)?;
        self.list_after_commit(tx, vec![entry]);
        Ok(())
    }

    /// Revokes several tokens, sessions or clients, each with the time from which on nothing is
    /// issued for it.
    ///
    /// # Errors
    /// The database error.
    pub fn revoke_all(
        &self,
        tx: &mut Tx<'_>,
        ids: impl Iterator<Item = (Id, Timestamp)>,
        now: Timestamp,
    ) -> QueryResult<()> {
        let life = self.policy.max_token_age + SAFETY_MARGIN;
        let mut entries: Vec<_> = ids
            .map(|(id, last)| (id, self.latest(last).plus(life)))
            .map(|(id, expires_at)| feed::RevocationEntry { id, expires_at })
            .collect();
        tx.begin()?;
        queries::insert_all(tx.connection(), &mut entries, life, now)?;
        self.list_after_commit(tx, entries);
        Ok(())
    }

    fn latest(&self, moment: Timestamp) -> Timestamp {
        self.expiry_clock.as_ref().map_or(moment, |clock| moment.max(clock.now()))
    }

    fn list_after_commit(&self, tx: &mut Tx<'_>, entries: Vec<feed::RevocationEntry>) {
        let (cache, stored) = (Arc::clone(&self.cache), Arc::clone(&self.stored));
        tx.after_commit(move || {
            let mut cache = locks::write(&cache);
            for entry in entries {
                cache.list(entry);
            }
            stored.notify_one();
        });
    }
}
