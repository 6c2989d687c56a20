//! The clients table: every statement on it, except the join in the query for a session's row.

use std::time::Duration;

use diesel::prelude::*;

use super::{Client, ClientKind, ClientSettings, split};
use crate::clock::Timestamp;
use crate::database::schema::clients;
use crate::database::{AnyConnection, Id};

const PUBLIC: &str = "public";
const CONFIDENTIAL: &str = "confidential";

pub(super) fn insert(
    connection: &mut AnyConnection,
    client: &Client,
    secret_hash: Option<&[u8; 32]>,
) -> QueryResult<()> {
    let (kind, scopes, origins, client_settings) = match &client.kind {
        ClientKind::Public { origins, client_settings } => {
            (PUBLIC, String::new(), origins.join(" "), *client_settings)
        }
        ClientKind::Confidential { scopes } => {
            (CONFIDENTIAL, scopes.join(" "), String::new(), ClientSettings::default())
        }
    };
    diesel::insert_into(clients::table)
        .values((
            clients::id.eq(client.id.to_string()),
            clients::kind.eq(kind),
            clients::name.eq(&client.name),
            clients::secret_hash.eq(secret_hash.map(<[u8; 32]>::as_slice)),
            clients::scopes.eq(scopes),
            clients::origins.eq(origins),
            clients::token_lifetime.eq(client_settings.token_lifetime.map(micros)),
            clients::retry_window.eq(client_settings.retry_window.map(micros)),
            clients::created_at.eq(client.created_at),
        ))
        .execute(connection)
        .map(drop)
}

type Columns = (String, String, String, String, String, Option<i64>, Option<i64>, Timestamp);

/// Ids begin with the time, so this is the order of creation.
pub(super) fn all(connection: &mut AnyConnection) -> QueryResult<Vec<Client>> {
    let rows: Vec<Columns> = clients::table
        .order(clients::id)
        .select((
            clients::id,
            clients::kind,
            clients::name,
            clients::scopes,
            clients::origins,
            clients::token_lifetime,
            clients::retry_window,
            clients::created_at,
        ))
        .load(connection)?;
    rows.into_iter().map(from_columns).collect()
}

fn from_columns(
    (id, kind, name, scopes, origins, token_lifetime, retry_window, created_at): Columns,
) -> QueryResult<Client> {
    let id = super::canonical(&id).ok_or_else(|| {
        diesel::result::Error::DeserializationError("a client's id is not a UUID".into())
    })?;
    let kind = if kind == CONFIDENTIAL {
        ClientKind::Confidential { scopes: split(&scopes).collect() }
    } else {
        let client_settings = ClientSettings::from_micros((token_lifetime, retry_window));
        ClientKind::Public { origins: split(&origins).collect(), client_settings }
    };
    Ok(Client { id, name, kind, created_at })
}

pub(super) fn origins(connection: &mut AnyConnection) -> QueryResult<Vec<String>> {
    clients::table.filter(clients::origins.ne("")).select(clients::origins).load(connection)
}

/// The hash of the client's secret, if it has one, and its scopes.
pub(super) fn credentials(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<(Option<Vec<u8>>, String)>> {
    clients::table
        .find(id.to_string())
        .select((clients::secret_hash, clients::scopes))
        .get_result(connection)
        .optional()
}

/// The settings of a public client.
pub(super) fn client_settings(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<ClientSettings>> {
    clients::table
        .find(id.to_string())
        .filter(clients::kind.eq(PUBLIC))
        .select((clients::token_lifetime, clients::retry_window))
        .get_result(connection)
        .optional()
        .map(|row| row.map(ClientSettings::from_micros))
}

pub(super) fn delete(connection: &mut AnyConnection, id: Id) -> QueryResult<bool> {
    diesel::delete(clients::table.find(id.to_string())).execute(connection).map(|rows| rows == 1)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl ClientSettings {
    /// From the two columns, in microseconds.
    #[must_use]
    pub fn from_micros((token_lifetime, retry_window): (Option<i64>, Option<i64>)) -> Self {
        Self {
            token_lifetime: token_lifetime.map(duration),
            retry_window: retry_window.map(duration),
        }
    }
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
