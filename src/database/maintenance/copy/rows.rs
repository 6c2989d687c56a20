//! The rows of each table: read, written and checksummed.

use diesel::prelude::*;
use serde::Serialize;

use crate::database::schema::{
    audit_events, blocklist, clients, mail_requests, sessions, signing_keys, users,
};
use crate::database::{AnyConnection, Id, QueryResult};
use crate::secret::sha256;

/// The number of rows read at a time.
const ROWS_PER_PAGE: i64 = 2000;

/// The maximum number of values in one INSERT: SQLite accepts 32,766, PostgreSQL 65,535.
const MAX_BINDS: usize = 16_000;

/// A row of a table.
pub(super) trait Row: Serialize + Sized {
    /// The primary key.
    type Key: Clone;
    const TABLE: &'static str;
    const COLUMNS: &'static [&'static str];

    fn key(&self) -> &Self::Key;

    /// The rows after this key, ordered by key; without one, the first ones.
    fn page(connection: &mut AnyConnection, after: Option<&Self::Key>) -> QueryResult<Vec<Self>>;

    fn insert(connection: &mut AnyConnection, rows: &[Self]) -> QueryResult<()>;
}

macro_rules! rows {
    ($($Row:ident of $table:ident by $key:ident: $Key:ty { $($column:ident: $Type:ty,)+ })+) => { $(
        #[derive(Insertable, Queryable, Selectable, Serialize)]
        #[diesel(table_name = $table, treat_none_as_default_value = false)]
        pub(super) struct $Row { $(pub $column: $Type,)+ }

        impl Row for $Row {
            type Key = $Key;
            const TABLE: &'static str = stringify!($table);
            const COLUMNS: &'static [&'static str] = &[$(stringify!($column),)+];

            fn key(&self) -> &$Key {
                &self.$key
            }

            fn page(
                connection: &mut AnyConnection,
                after: Option<&$Key>,
            ) -> QueryResult<Vec<Self>> {
                let page = $table::table.order($table::$key).limit(ROWS_PER_PAGE);
                let page = page.select(Self::as_select());
                match after {
                    Some(after) => page.filter($table::$key.gt(after)).load(connection),
                    None => page.load(connection),
                }
            }

            fn insert(connection: &mut AnyConnection, rows: &[Self]) -> QueryResult<()> {
                for rows in rows.chunks(MAX_BINDS / Self::COLUMNS.len()) {
                    let insert = diesel::insert_into($table::table).values(rows);
                    match connection {
                        AnyConnection::Sqlite(c) => insert.execute(c)?,
                        AnyConnection::Postgres(c) => insert.execute(c)?,
                    };
                }
                Ok(())
            }
        }
    )+ };
}

rows! {
    User of users by id: Id {
        id: Id,
        email: String,
        email_key: String,
        password_hash: String,
        roles: String,
        created_at: i64,
        password_changed_at: i64,
        last_login_at: Option<i64>,
        disabled_at: Option<i64>,
        closed_at: Option<i64>,
        credentials_version: i64,
        email_verified_at: Option<i64>,
        locale: Option<String>,
        claims: Option<String>,
        version: i64,
        invited_until: Option<i64>,
        totp_secret: Option<Vec<u8>>,
        totp_last_step: Option<i64>,
        totp_pending: Option<Vec<u8>>,
        totp_pending_at: Option<i64>,
        factor_failures: i64,
        factor_window_at: Option<i64>,
        recovery_codes: Option<Vec<u8>>,
    }
    Client of clients by id: String {
        id: String,
        kind: String,
        name: String,
        secret_hash: Option<Vec<u8>>,
        scopes: String,
        origins: String,
        token_lifetime: Option<i64>,
        retry_window: Option<i64>,
        created_at: i64,
        old_secret_hash: Option<Vec<u8>>,
        old_secret_until: Option<i64>,
        version: i64,
    }
    Session of sessions by id: Id {
        id: Id,
        user_id: Id,
        client_id: String,
        family_hash: Vec<u8>,
        generation: i64,
        rotated_at: Option<i64>,
        retry_keys: Vec<u8>,
        forgiven_generation: Option<i64>,
        created_at: i64,
        last_seen_at: i64,
        expires_at: i64,
        ends_at: i64,
        revoked_at: Option<i64>,
        end_reason: Option<String>,
        label: Option<String>,
        user_agent: Option<String>,
        address: Option<String>,
        reopened_generation: Option<i64>,
        changed_password_at: Option<i64>,
        auth_time: Option<i64>,
        amr: Option<String>,
    }
    Revocation of blocklist by id: Id {
        id: Id,
        expires_at: i64,
        revoked_at: i64,
    }
    SigningKey of signing_keys by kid: String {
        kid: String,
        alg: String,
        sealed: Vec<u8>,
        jwk: String,
        state: String,
        created_at: i64,
        activated_at: Option<i64>,
        retired_at: Option<i64>,
    }
    AuditEvent of audit_events by id: Id {
        id: Id,
        at: i64,
        event: String,
        user_id: Option<Id>,
        session_id: Option<Id>,
        address: Option<String>,
        detail: Option<String>,
        times: i64,
        actor: Option<String>,
    }
    MailRequest of mail_requests by id: Id {
        id: Id,
        purpose: String,
        message: Option<String>,
        user_id: Option<Id>,
        address: String,
        address_key: String,
        network: Option<String>,
        device: Option<Id>,
        quota: Option<String>,
        password_hash: Option<String>,
        credentials_version: Option<i64>,
        detail: Option<String>,
        locale: Option<String>,
        attempts: i64,
        sends: i64,
        created_at: i64,
        next_send_at: Option<i64>,
        leased_until: Option<i64>,
        handed_at: Option<i64>,
        used_at: Option<i64>,
        expires_at: i64,
        outcome: Option<String>,
    }
}

/// A checksum of rows: equal for equal rows, in every order that a database's collation may
/// produce.
///
/// Each row is written as JSON, the same from either database, and hashed with SHA-256; the hashes
/// are added modulo 2^256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableChecksum {
    /// The number of rows.
    pub rows: u64,
    /// The lowest limb first.
    hash: [u64; 4],
}

impl TableChecksum {
    pub(super) fn add(&mut self, row: &impl Serialize) {
        // Every column type can be written as JSON.
        let digest = sha256(&serde_json::to_vec(row).unwrap_or_default());
        let mut carry = false;
        for (limb, bytes) in self.hash.iter_mut().zip(digest.as_chunks().0) {
            let (sum, once) = limb.overflowing_add(u64::from_be_bytes(*bytes));
            let (sum, twice) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, once || twice);
        }
        self.rows += 1;
    }

    /// A quarter of the sum, short enough for people to compare.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{:016x}", self.hash[3])
    }
}
