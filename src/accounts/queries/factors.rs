//! Statements of second factors.

use std::time::Duration;

use diesel::dsl::case_when;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use uuid::Uuid;

use super::{Credentials, incremented_version, open_account, unchanged_since_read};
use crate::accounts::second_factor::UsedFactor;
use crate::clock::Timestamp;
use crate::database::schema::{sessions, users};
use crate::database::{AnyConnection, Id};

/// Reserves a guess at a code, and returns the number of guesses in this window; `None` when there
/// were `max` already.
pub(in crate::accounts) fn reserve_guess(
    connection: &mut AnyConnection,
    user: Id,
    (max, window): (i64, Duration),
    now: Timestamp,
) -> QueryResult<Option<i64>> {
    let is_over = || users::factor_window_at.le(now.minus(window).as_micros());
    let is_new = || users::factor_window_at.is_null().or(is_over());
    let may_guess = open_account(user).filter(is_new().or(users::factor_failures.lt(max)));
    diesel::update(may_guess)
        .set((
            users::factor_failures.eq(case_when(is_new(), 1_i64.into_sql::<BigInt>())
                .otherwise(users::factor_failures + 1_i64)),
            users::factor_window_at.eq(case_when(
                is_new(),
                now.as_micros().into_sql::<Nullable<BigInt>>(),
            )
            .otherwise(users::factor_window_at)),
        ))
        .returning(users::factor_failures)
        .get_result(connection)
        .optional()
}

/// When the present window of guesses began.
pub(in crate::accounts) fn guesses_since(
    connection: &mut AnyConnection,
    user: Id,
) -> QueryResult<Option<Timestamp>> {
    let column = open_account(user).select(users::factor_window_at);
    column.get_result::<Option<Timestamp>>(connection).optional().map(Option::flatten)
}

/// A right code was not a guess.
#[diesel::dsl::auto_type]
fn given_back() -> _ {
    case_when(users::factor_failures.gt(0_i64), users::factor_failures - 1_i64).otherwise(0_i64)
}

/// The changes of the row by an accepted code; both may be added to other ones.
#[diesel::dsl::auto_type]
pub(super) fn accepted_step(step: i64) -> _ {
    (users::totp_last_step.eq(step), users::factor_failures.eq(given_back()))
}

/// Whether no code of this step or a later one was accepted: a code is good once.
#[diesel::dsl::auto_type]
pub(super) fn is_unused_step(step: i64) -> _ {
    users::totp_last_step.is_null().or(users::totp_last_step.lt(step))
}

/// Uses a second factor up, provided that the account is unchanged since it was read and nobody was
/// faster.
pub(in crate::accounts) fn use_factor(
    connection: &mut AnyConnection,
    read: &Credentials,
    used: &UsedFactor,
) -> QueryResult<bool> {
    let unchanged = unchanged_since_read(read);
    let rows = match used {
        UsedFactor::Totp { step } => diesel::update(unchanged.filter(is_unused_step(*step)))
            .set(accepted_step(*step))
            .execute(connection),
        UsedFactor::RecoveryCode { left } => {
            let same = unchanged.filter(users::recovery_codes.eq(read.recovery_codes.as_deref()));
            diesel::update(same)
                .set(users::recovery_codes.eq(Some(left.as_slice())))
                .execute(connection)
        }
    };
    rows.map(|rows| rows == 1)
}

/// Stores a secret that its owner has to confirm. It is not a factor yet, so the version stays.
pub(in crate::accounts) fn set_pending(
    connection: &mut AnyConnection,
    read: &Credentials,
    sealed: &[u8],
    now: Timestamp,
) -> QueryResult<bool> {
    diesel::update(unchanged_since_read(read))
        .set((users::totp_pending.eq(sealed), users::totp_pending_at.eq(now)))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// The secret that waits to be confirmed, and when it was made.
pub(in crate::accounts) fn pending(
    connection: &mut AnyConnection,
    user: Id,
) -> QueryResult<Option<(Vec<u8>, Timestamp)>> {
    let columns = (users::totp_pending, users::totp_pending_at);
    let row: Option<(Option<Vec<u8>>, Option<Timestamp>)> =
        open_account(user).select(columns).get_result(connection).optional()?;
    Ok(row.and_then(|(sealed, at)| sealed.zip(at)))
}

/// Reserves a guess at the code of a pending secret: it costs this part of the time for which the
/// secret may wait. False when no time is left, or another secret waits.
pub(in crate::accounts) fn reserve_confirmation(
    connection: &mut AnyConnection,
    user: Id,
    pending: &[u8],
    cost: Duration,
    made_after: Timestamp,
) -> QueryResult<bool> {
    let cost = i64::try_from(cost.as_micros()).unwrap_or(i64::MAX);
    let waiting = open_account(user)
        .filter(users::totp_pending.eq(Some(pending)))
        .filter(users::totp_pending_at.gt(made_after.as_micros()));
    diesel::update(waiting)
        .set(users::totp_pending_at.eq(users::totp_pending_at - cost))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// A confirmed secret and the recovery codes that belong to it.
pub(in crate::accounts) struct NewFactor {
    pub pending: Vec<u8>,
    pub sealed: Vec<u8>,
    /// The step of the confirming code, which counts as used.
    pub step: i64,
    pub recovery_codes: Vec<u8>,
}

/// Makes the pending secret the account's factor.
pub(in crate::accounts) fn confirm(
    connection: &mut AnyConnection,
    read: &Credentials,
    new: &NewFactor,
) -> QueryResult<bool> {
    let pending = users::totp_pending.eq(Some(new.pending.as_slice()));
    diesel::update(unchanged_since_read(read).filter(pending))
        .set((
            users::totp_secret.eq(Some(new.sealed.as_slice())),
            users::totp_pending.eq(None::<Vec<u8>>),
            users::totp_pending_at.eq(None::<i64>),
            users::recovery_codes.eq(Some(new.recovery_codes.as_slice())),
            users::totp_last_step.eq(new.step),
            incremented_version(),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// The columns of an account without factors. The count of guesses stays.
#[diesel::dsl::auto_type]
pub(super) fn without_factors() -> _ {
    let no_secret: Option<Vec<u8>> = None;
    let no_pending: Option<Vec<u8>> = None;
    let no_codes: Option<Vec<u8>> = None;
    let nothing: Option<i64> = None;
    (
        users::totp_secret.eq(no_secret),
        users::totp_last_step.eq(nothing),
        users::totp_pending.eq(no_pending),
        users::totp_pending_at.eq(nothing),
        users::recovery_codes.eq(no_codes),
    )
}

/// Removes the factor and the recovery codes.
pub(in crate::accounts) fn remove(
    connection: &mut AnyConnection,
    read: &Credentials,
) -> QueryResult<bool> {
    diesel::update(unchanged_since_read(read))
        .set((without_factors(), incremented_version()))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Replaces the recovery codes.
pub(in crate::accounts) fn replace_recovery_codes(
    connection: &mut AnyConnection,
    read: &Credentials,
    digests: &[u8],
) -> QueryResult<bool> {
    diesel::update(unchanged_since_read(read))
        .set((users::recovery_codes.eq(Some(digests)), incremented_version()))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// Removes the factors of any open account that has one, a secret that waits to be confirmed or
/// guesses, and forgets the guesses.
pub(in crate::accounts) fn reset(connection: &mut AnyConnection, user: Id) -> QueryResult<bool> {
    let has_any = users::totp_secret
        .is_not_null()
        .or(users::totp_pending.is_not_null())
        .or(users::factor_failures.gt(0_i64));
    diesel::update(open_account(user).filter(has_any))
        .set((
            without_factors(),
            users::factor_failures.eq(0_i64),
            users::factor_window_at.eq(None::<i64>),
            incremented_version(),
        ))
        .execute(connection)
        .map(|rows| rows == 1)
}

/// The number of open accounts with a second factor.
pub(in crate::accounts) fn count(connection: &mut AnyConnection) -> QueryResult<i64> {
    users::table
        .filter(users::closed_at.is_null())
        .filter(users::totp_secret.is_not_null())
        .count()
        .get_result(connection)
}

/// Some sealed secrets, by the ids of their accounts.
pub(in crate::accounts) fn sealed_secrets(
    connection: &mut AnyConnection,
    after: Option<Id>,
    limit: u32,
) -> QueryResult<Vec<(Id, Option<Vec<u8>>)>> {
    users::table
        .filter(users::totp_secret.is_not_null())
        .filter(users::id.gt(after.unwrap_or_else(|| Uuid::nil().into())))
        .order(users::id)
        .limit(limit.into())
        .select((users::id, users::totp_secret))
        .load(connection)
}

/// Replaces a sealed secret by the same one under another key.
pub(in crate::accounts) fn reseal(
    connection: &mut AnyConnection,
    user: Id,
    old: &[u8],
    new: &[u8],
) -> QueryResult<()> {
    let same = users::table.filter(users::id.eq(user)).filter(users::totp_secret.eq(Some(old)));
    diesel::update(same).set(users::totp_secret.eq(Some(new))).execute(connection).map(drop)
}

/// A session in which no second factor was proven.
#[derive(Clone, Debug, Queryable)]
pub(in crate::accounts) struct SessionWithoutFactor {
    pub id: Id,
    pub user: Id,
    /// The account's roles, separated by spaces.
    pub roles: String,
}

/// Some sessions that were not revoked, expired ones included, in which no second factor was
/// proven; in the order of their ids.
pub(in crate::accounts) fn sessions_without_factor(
    connection: &mut AnyConnection,
    after: Option<Id>,
    limit: u32,
) -> QueryResult<Vec<SessionWithoutFactor>> {
    sessions::table
        .inner_join(users::table.on(users::id.eq(sessions::user_id)))
        .filter(sessions::revoked_at.is_null())
        // RFC 8176: more than one factor.
        .filter(sessions::amr.is_null().or(sessions::amr.not_like("%mfa%")))
        .filter(sessions::id.gt(after.unwrap_or_else(|| Uuid::nil().into())))
        .order(sessions::id)
        .limit(limit.into())
        .select((sessions::id, users::id, users::roles))
        .load(connection)
}
