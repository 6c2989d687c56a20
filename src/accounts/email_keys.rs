//! The change from former to canonical e-mail keys.
//!
//! An account created before keys were canonical keeps its former key until it is rewritten, and is
//! found by either. Of two accounts with one canonical key, the one that already has it keeps it,
//! or else the oldest gets it; the other one keeps its former key, and its owner logs in by that
//! spelling. No accounts are merged.

use std::time::Duration;

use diesel::QueryResult;

use super::Email;
use super::queries::email_keys::{self as queries, KeyRow};
use crate::database::{AnyConnection, Database, Id, StoreError, Tx};

/// An account that is stored under another key than the canonical one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerKey {
    /// The account.
    pub id: Id,
    /// Its address.
    pub email: String,
    /// Whether another account has the canonical key.
    pub is_taken: bool,
}

/// Rewrites the former keys, with a pause between two batches of accounts, and returns their
/// number.
///
/// # Errors
/// [`StoreError`]: some may be rewritten; another call continues.
pub async fn rewrite(db: &Database, pause: Duration) -> Result<u64, StoreError> {
    // Most services have no such account, and need not read all of them at each start.
    if !db.read(queries::has_non_ascii).await? {
        return Ok(0);
    }
    let (mut after, mut rewritten) = (None, 0);
    loop {
        let rows = db.read(move |c| queries::non_ascii(c, after)).await?;
        let Some(last) = rows.last() else { return Ok(rewritten) };
        after = Some(last.id);
        let former: Vec<KeyRow> = rows.into_iter().filter(KeyRow::is_former).collect();
        if !former.is_empty() {
            rewritten += db.write(move |tx| rewrite_all(tx, &former)).await?;
        }
        tokio::time::sleep(pause).await;
    }
}

/// The accounts that have a former key.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn former(db: &Database) -> Result<Vec<FormerKey>, StoreError> {
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let rows = db.read(move |c| queries::non_ascii(c, after)).await?;
        let Some(last) = rows.last() else { return Ok(found) };
        after = Some(last.id);
        let former: Vec<KeyRow> = rows.into_iter().filter(KeyRow::is_former).collect();
        if !former.is_empty() {
            found.extend(db.read(move |c| described(c, &former)).await?);
        }
    }
}

impl KeyRow {
    fn canonical(&self) -> String {
        Email::key_of(&self.email)
    }

    fn is_former(&self) -> bool {
        self.email_key != self.canonical()
    }
}

fn described(connection: &mut AnyConnection, former: &[KeyRow]) -> QueryResult<Vec<FormerKey>> {
    let describe = |row: &KeyRow| {
        let is_taken = queries::is_taken(connection, &row.canonical())?;
        Ok(FormerKey { id: row.id, email: row.email.clone(), is_taken })
    };
    former.iter().map(describe).collect()
}

fn rewrite_all(tx: &mut Tx<'_>, former: &[KeyRow]) -> QueryResult<u64> {
    let mut rewritten = 0;
    for row in former {
        // A concurrent registration may take the key.
        let done = tx.in_savepoint(|tx| rewrite_one(tx.connection(), row))?;
        rewritten += u64::from(done.is_some());
    }
    Ok(rewritten)
}

/// Rewrites the key of an account; `None` when another one has it, or the account has changed.
fn rewrite_one(connection: &mut AnyConnection, row: &KeyRow) -> QueryResult<Option<()>> {
    let canonical = row.canonical();
    if queries::is_taken(connection, &canonical)? {
        return Ok(None);
    }
    Ok(queries::set_key(connection, row, &canonical)?.then_some(()))
}
