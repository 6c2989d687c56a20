//! Applying the schedule to the stored keys.

use diesel::QueryResult;

use super::generation::{NewKey, generate};
use super::queries::{self, KeyRow};
use super::schedule::{Schedule, schedule};
use super::{KeyPolicy, KeyState, KeysError, Seal};
use crate::audit::{self, Event, EventKind};
use crate::clock::{Clock, Timestamp};
use crate::database::{Database, Tx};

/// Applies the schedule and returns the resulting rows.
pub(super) async fn apply_schedule(
    db: &Database,
    clock: &Clock,
    seal: &Seal,
    policy: &KeyPolicy,
) -> Result<Vec<KeyRow>, KeysError> {
    let rows = db.read_without_timeout(queries::load).await?;
    let wanted = schedule(&rows, policy, clock.now());
    if wanted == Schedule::default() {
        return Ok(rows);
    }
    // Generated outside the unit of work: an RSA key takes a large part of a second.
    let spare = match wanted.create {
        Some(_) => Some(generate(policy.algorithm, seal).await?),
        None => None,
    };
    let (clock, policy) = (clock.clone(), *policy);
    let rows = db
        .write(move |tx| {
            let now = clock.now();
            let todo = schedule(&queries::load(tx.connection())?, &policy, now);
            for kid in &todo.remove {
                let rows = queries::delete(tx.connection(), kid)?;
                record(tx, EventKind::KeyRemoved, kid, rows, now)?;
            }
            if let Some(kid) = &todo.retire {
                let rows = queries::retire(tx.connection(), kid, now)?;
                record(tx, EventKind::KeyRetired, kid, rows, now)?;
            }
            if let Some(kid) = &todo.activate {
                let rows = queries::activate(tx.connection(), kid, now)?;
                record(tx, EventKind::KeyRotated, kid, rows, now)?;
            }
            if let (Some(state), Some(new)) = (todo.create, &spare) {
                create(tx, new, state, now)?;
            }
            queries::load(tx.connection())
        })
        .await?;
    Ok(rows)
}

/// Inserts a key unless another node was first.
pub(super) fn create(
    tx: &mut Tx<'_>,
    new: &NewKey,
    state: KeyState,
    now: Timestamp,
) -> QueryResult<()> {
    let rows = queries::insert(tx.connection(), new, state, now)?;
    let kind =
        if state == KeyState::Active { EventKind::KeyRotated } else { EventKind::KeyPublished };
    record(tx, kind, &new.kid, rows, now)
}

/// Records the event of a state change, if it took place: another node may have been first.
pub(super) fn record(
    tx: &mut Tx<'_>,
    event: EventKind,
    kid: &str,
    rows: usize,
    now: Timestamp,
) -> QueryResult<()> {
    if rows == 0 { Ok(()) } else { audit::record(tx, Event::new(event).with_detail(kid), now) }
}
