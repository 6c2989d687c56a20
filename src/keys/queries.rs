//! The table of signing keys: every statement on it.

use diesel::prelude::*;

use super::generation::NewKey;
use super::schedule::KeyState;
use super::{KeysError, Seal};
use crate::clock::Timestamp;
use crate::database::AnyConnection;
use crate::database::schema::signing_keys;
use crate::tokens::SigningKey;

#[derive(Clone, Queryable)]
pub(super) struct KeyRow {
    pub kid: String,
    pub alg: String,
    pub sealed: Vec<u8>,
    pub jwk: String,
    pub state: String,
    pub created_at: Timestamp,
    pub activated_at: Option<Timestamp>,
    pub retired_at: Option<Timestamp>,
}

impl KeyRow {
    pub(super) fn is(&self, state: KeyState) -> bool {
        self.state == state.as_str()
    }

    pub(super) fn open(&self, seal: &Seal) -> Result<SigningKey, KeysError> {
        let algorithm = self.alg.parse().map_err(|e| self.unusable(&e))?;
        let der = seal.open(&self.sealed, &self.kid)?;
        SigningKey::from_pkcs8(algorithm, &der).map_err(|e| self.unusable(&e))
    }

    pub(super) fn unusable(&self, cause: &dyn std::fmt::Display) -> KeysError {
        KeysError::Unusable(self.kid.clone(), cause.to_string())
    }
}

pub(super) fn load(connection: &mut AnyConnection) -> QueryResult<Vec<KeyRow>> {
    signing_keys::table.order(signing_keys::created_at.desc()).load(connection)
}

pub(super) fn delete(connection: &mut AnyConnection, kid: &str) -> QueryResult<usize> {
    diesel::delete(signing_keys::table.find(kid)).execute(connection)
}

/// Deletes the key if it is in this state.
pub(super) fn delete_in(
    connection: &mut AnyConnection,
    kid: &str,
    state: KeyState,
) -> QueryResult<usize> {
    let key = signing_keys::table.find(kid).filter(signing_keys::state.eq(state.as_str()));
    diesel::delete(key).execute(connection)
}

pub(super) fn delete_all(connection: &mut AnyConnection) -> QueryResult<usize> {
    diesel::delete(signing_keys::table).execute(connection)
}

/// Retires the key if it is active.
pub(super) fn retire(
    connection: &mut AnyConnection,
    kid: &str,
    now: Timestamp,
) -> QueryResult<usize> {
    let active = signing_keys::state.eq(KeyState::Active.as_str());
    diesel::update(signing_keys::table.find(kid).filter(active))
        .set((signing_keys::state.eq(KeyState::Retired.as_str()), signing_keys::retired_at.eq(now)))
        .execute(connection)
}

/// Activates the key if it is the next one.
pub(super) fn activate(
    connection: &mut AnyConnection,
    kid: &str,
    now: Timestamp,
) -> QueryResult<usize> {
    let next = signing_keys::state.eq(KeyState::Next.as_str());
    diesel::update(signing_keys::table.find(kid).filter(next))
        .set((
            signing_keys::state.eq(KeyState::Active.as_str()),
            signing_keys::activated_at.eq(now),
        ))
        .execute(connection)
}

pub(super) fn reseal(
    connection: &mut AnyConnection,
    kid: &str,
    sealed: &[u8],
) -> QueryResult<usize> {
    diesel::update(signing_keys::table.find(kid))
        .set(signing_keys::sealed.eq(sealed))
        .execute(connection)
}

/// Inserts the key unless another node was first: at most one key is active, and one is next.
pub(super) fn insert(
    connection: &mut AnyConnection,
    new: &NewKey,
    state: KeyState,
    now: Timestamp,
) -> QueryResult<usize> {
    let activated_at = (state == KeyState::Active).then_some(now.as_micros());
    let row = (
        signing_keys::kid.eq(&new.kid),
        signing_keys::alg.eq(new.algorithm.as_str()),
        signing_keys::sealed.eq(&new.sealed),
        signing_keys::jwk.eq(&new.jwk),
        signing_keys::state.eq(state.as_str()),
        signing_keys::created_at.eq(now),
        signing_keys::activated_at.eq(activated_at),
    );
    let table = signing_keys::table;
    match connection {
        AnyConnection::Sqlite(c) => {
            diesel::insert_into(table).values(row).on_conflict_do_nothing().execute(c)
        }
        AnyConnection::Postgres(c) => {
            diesel::insert_into(table).values(row).on_conflict_do_nothing().execute(c)
        }
    }
}
