//! Roles and custom claims, granted and taken away.
//!
//! To take one away ends the account's sessions: their tokens are revoked at every node and every
//! subscribed verifier, which needs no clock. A refresh that has read the old roles issues a token
//! of an ended session, which is revoked with it; a login that has read them loses the comparison
//! of `users.credentials_version` and reads again.

use diesel::QueryResult;

use super::{AccountAdmin, AdminOutcome};
use crate::accounts::queries::{self, LockedAccount};
use crate::accounts::{CustomClaims, InvalidRoles, RoleSet};
use crate::audit::{self, Event, EventKind};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError, Tx};
use crate::sessions::end_sessions_of;
use crate::sessions::rotation::EndReason;
use crate::tokens::TokenTooLong;

/// Accounts that one read checks.
const PAGE: u32 = 1000;

/// A change of an account's roles or custom claims.
#[derive(Clone, Debug)]
pub enum GrantChange {
    /// Exactly these roles.
    SetRoles(RoleSet),
    /// These roles as well.
    AddRoles(RoleSet),
    /// Not these roles.
    RemoveRoles(RoleSet),
    /// Exactly these custom claims.
    SetClaims(CustomClaims),
}

/// The effect on the account's sessions when a role or claim is taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LiveSessions {
    /// They end, and their tokens are revoked.
    #[default]
    End,
    /// They continue: access tokens keep the old roles until they expire.
    Keep,
}

/// The result of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantOutcome {
    /// Whether the account was changed, and the sessions that ended.
    pub outcome: AdminOutcome,
    /// Whether a role or claim was taken away.
    pub is_taken_away: bool,
}

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub enum AccountChangeError {
    /// No open account has this id.
    #[error("the account does not exist")]
    NoSuchUser,
    /// The account has changed since the operator read it.
    #[error("the account has changed since it was read")]
    OtherVersion,
    /// The proof of an address would be withdrawn. Its owner would not be notified of a later
    /// change.
    #[error("a proven address stays proven; send another email to change it")]
    ProofStays,
    /// Another account has the address.
    #[error("the e-mail address is taken")]
    Taken,
    /// There would be too many roles.
    #[error(transparent)]
    Roles(#[from] InvalidRoles),
    /// The account's tokens would be too long.
    #[error(transparent)]
    TooLong(#[from] TokenTooLong),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The accounts whose tokens are longer than `tokens.max_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OversizedTokens {
    /// Their number.
    pub accounts: usize,
    /// The first of them.
    pub first: Option<Id>,
}

/// Roles and custom claims together: both count in a token's length.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Grants {
    roles: RoleSet,
    claims: CustomClaims,
}

impl AccountAdmin {
    /// Changes roles or custom claims. A grant takes effect with the next refresh.
    ///
    /// # Errors
    /// [`AccountChangeError`]: nothing has changed.
    pub async fn change_grants(
        &self,
        user: Id,
        change: GrantChange,
        live: LiveSessions,
    ) -> Result<GrantOutcome, AccountChangeError> {
        let this = self.clone();
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                let changed = this.change_grants_in_tx(tx, user, &change, live, now)?;
                if let Ok(GrantOutcome { outcome, .. }) = &changed {
                    this.announce(tx, outcome.sessions_ended)?;
                }
                Ok(changed)
            })
            .await?
    }

    fn change_grants_in_tx(
        &self,
        tx: &mut Tx<'_>,
        user: Id,
        change: &GrantChange,
        live: LiveSessions,
        now: Timestamp,
    ) -> QueryResult<Result<GrantOutcome, AccountChangeError>> {
        // First the user's row, by an UPDATE: a read would not lock it.
        match queries::lock_account(tx.connection(), user)? {
            Some(locked) => {
                self.change_locked_grants(tx, user, &Grants::of(&locked), change, live, now)
            }
            None => Ok(Err(AccountChangeError::NoSuchUser)),
        }
    }

    /// Changes the roles or custom claims of a locked account.
    pub(super) fn change_locked_grants(
        &self,
        tx: &mut Tx<'_>,
        user: Id,
        before: &Grants,
        change: &GrantChange,
        live: LiveSessions,
        now: Timestamp,
    ) -> QueryResult<Result<GrantOutcome, AccountChangeError>> {
        let after = match before.changed(change) {
            Ok(after) => after,
            Err(invalid) => return Ok(Err(invalid.into())),
        };
        if *before == after {
            let outcome = AdminOutcome { changed: false, sessions_ended: 0 };
            return Ok(Ok(GrantOutcome { outcome, is_taken_away: false }));
        }
        // The size is checked only when something is added: an account whose tokens are too long
        // since a change of the settings can still be reduced.
        if before.lacks_part_of(&after)
            && let Err(too_long) = self.check_size(&after)
        {
            return Ok(Err(too_long.into()));
        }
        store_grants(tx, user, before, &after, now)?;
        let is_taken_away = after.lacks_part_of(before);
        let mut sessions_ended = 0;
        if is_taken_away && live == LiveSessions::End {
            let reason = EndReason::RolesChanged;
            sessions_ended = end_sessions_of(&self.revocations, tx, user, reason, now)?;
        }
        let outcome = AdminOutcome { changed: true, sessions_ended };
        Ok(Ok(GrantOutcome { outcome, is_taken_away }))
    }

    /// Checks the length of the tokens of an account with these roles and no custom claims.
    ///
    /// # Errors
    /// [`TokenTooLong`].
    pub fn check_roles(&self, roles: &RoleSet) -> Result<(), TokenTooLong> {
        self.check_size(&Grants { roles: roles.clone(), claims: CustomClaims::default() })
    }

    fn check_size(&self, grants: &Grants) -> Result<(), TokenTooLong> {
        self.size_limit.check_user(&grants.roles.to_vec(), grants.claims.members())
    }

    /// Counts the accounts whose tokens are longer than `tokens.max_bytes`: the setting, the issuer
    /// or the audience may have changed since their roles were set.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn oversized_tokens(&self) -> Result<OversizedTokens, StoreError> {
        let mut found = OversizedTokens::default();
        let mut after = None;
        loop {
            let page = self.db.read(move |c| queries::list_grants(c, after, PAGE)).await?;
            for (id, roles, claims) in &page {
                if self.check_size(&Grants::from_stored(roles, claims.as_deref())).is_err() {
                    found.accounts += 1;
                    found.first = found.first.or(Some(*id));
                }
            }
            after = page.last().map(|(id, ..)| *id);
            if after.is_none() {
                return Ok(found);
            }
        }
    }
}

/// Gives a new account its roles, in the unit of work that creates it.
pub(super) fn grant_first_roles(
    tx: &mut Tx<'_>,
    user: Id,
    roles: &RoleSet,
    now: Timestamp,
) -> QueryResult<()> {
    let before = Grants { roles: RoleSet::default(), claims: CustomClaims::default() };
    let after = Grants { roles: roles.clone(), ..before.clone() };
    if before == after { Ok(()) } else { store_grants(tx, user, &before, &after, now) }
}

fn store_grants(
    tx: &mut Tx<'_>,
    user: Id,
    before: &Grants,
    after: &Grants,
    now: Timestamp,
) -> QueryResult<()> {
    let claims = after.claims.to_stored();
    let roles = after.roles.to_stored();
    queries::set_grants(tx.connection(), user, &roles, claims.as_deref())?;
    let added = after.roles.without(&before.roles).to_vec();
    let removed = before.roles.without(&after.roles).to_vec();
    if let Some(detail) = described(&added.join(" "), &removed.join(" ")) {
        let event = Event::new(EventKind::RolesChanged).with_user(user).with_detail(detail);
        audit::record(tx, event, now)?;
    }
    let set = after.claims.changed_or_missing_in(&before.claims).join(" ");
    let cleared = before.claims.changed_or_missing_in(&after.claims).join(" ");
    if let Some(detail) = described(&set, &cleared) {
        let event = Event::new(EventKind::ClaimsChanged).with_user(user).with_detail(detail);
        audit::record(tx, event, now)?;
    }
    Ok(())
}

impl Grants {
    pub(super) fn of(account: &LockedAccount) -> Self {
        Self::from_stored(&account.roles, account.claims.as_deref())
    }

    fn from_stored(roles: &str, claims: Option<&str>) -> Self {
        let claims = CustomClaims::from_stored(claims);
        Self { roles: RoleSet::from_stored(roles), claims }
    }

    fn changed(&self, change: &GrantChange) -> Result<Self, InvalidRoles> {
        let roles = |roles| Self { roles, ..self.clone() };
        Ok(match change {
            GrantChange::SetRoles(wanted) => roles(wanted.clone()),
            GrantChange::AddRoles(more) => roles(self.roles.with(more)?),
            GrantChange::RemoveRoles(fewer) => roles(self.roles.without(fewer)),
            GrantChange::SetClaims(claims) => Self { claims: claims.clone(), ..self.clone() },
        })
    }

    /// Whether these lack a role or claim of `other`, or have another value of a claim.
    fn lacks_part_of(&self, other: &Self) -> bool {
        !other.roles.without(&self.roles).is_empty()
            || !other.claims.changed_or_missing_in(&self.claims).is_empty()
    }
}

/// The detail of an event; `None` when nothing has changed.
fn described(added: &str, removed: &str) -> Option<String> {
    match (added, removed) {
        ("", "") => None,
        (added, "") => Some(format!("added {added}")),
        ("", removed) => Some(format!("removed {removed}")),
        (added, removed) => Some(format!("added {added}; removed {removed}")),
    }
}
