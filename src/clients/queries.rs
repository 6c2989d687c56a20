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
    let Description { kind, scopes, origins, client_settings } = Description::of(&client.kind);
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

/// A client, and the columns that are not shown.
#[derive(Clone)]
pub(super) struct Stored {
    pub client: Client,
    /// The id as it is stored.
    id: String,
}

/// The columns of a client that operators see.
#[derive(Queryable, Selectable)]
#[diesel(table_name = clients)]
struct ClientRow {
    id: String,
    kind: String,
    name: String,
    scopes: String,
    origins: String,
    token_lifetime: Option<i64>,
    retry_window: Option<i64>,
    created_at: Timestamp,
    old_secret_until: Option<Timestamp>,
    version: i64,
}

/// Ids begin with the time, so this is the order of creation.
pub(super) fn all(connection: &mut AnyConnection) -> QueryResult<Vec<Client>> {
    let rows: Vec<ClientRow> =
        clients::table.order(clients::id).select(ClientRow::as_select()).load(connection)?;
    rows.into_iter().map(Client::try_from).collect()
}

pub(super) fn find(connection: &mut AnyConnection, id: Id) -> QueryResult<Option<Stored>> {
    let id = id.to_string();
    let row: Option<ClientRow> = clients::table
        .find(&id)
        .select(ClientRow::as_select())
        .get_result(connection)
        .optional()?;
    row.map(|row| Ok(Stored { client: row.try_into()?, id })).transpose()
}

/// Stores a changed description, provided that the client is unchanged since it was read.
pub(super) fn update(
    connection: &mut AnyConnection,
    read: &Stored,
    changed: &Client,
) -> QueryResult<Option<Client>> {
    let Description { scopes, origins, client_settings, .. } = Description::of(&changed.kind);
    let rows = diesel::update(unchanged_since_read(read))
        .set((
            clients::name.eq(&changed.name),
            clients::scopes.eq(scopes),
            clients::origins.eq(origins),
            clients::token_lifetime.eq(client_settings.token_lifetime.map(micros)),
            clients::retry_window.eq(client_settings.retry_window.map(micros)),
            clients::version.eq(clients::version + 1_i64),
        ))
        .execute(connection)?;
    let version = read.client.version + 1;
    Ok((rows == 1).then(|| Client { version, ..changed.clone() }))
}

/// Replaces the secret, provided that the client is unchanged since it was read. The replaced one is
/// accepted until then.
pub(super) fn replace_secret(
    connection: &mut AnyConnection,
    read: &Stored,
    hash: &[u8; 32],
    until: Option<Timestamp>,
) -> QueryResult<Option<Client>> {
    let present: Option<Vec<u8>> =
        clients::table.find(&read.id).select(clients::secret_hash).get_result(connection)?;
    let rows = diesel::update(unchanged_since_read(read))
        .set((
            clients::old_secret_hash.eq(present.filter(|_| until.is_some())),
            clients::old_secret_until.eq(until.map(Timestamp::as_micros)),
            clients::secret_hash.eq(hash.as_slice()),
            clients::version.eq(clients::version + 1_i64),
        ))
        .execute(connection)?;
    let (old_secret_until, version) = (until, read.client.version + 1);
    Ok((rows == 1).then(|| Client { old_secret_until, version, ..read.client.clone() }))
}

#[diesel::dsl::auto_type]
fn unchanged_since_read(read: &Stored) -> _ {
    let (id, version): (String, i64) = (read.id.clone(), read.client.version);
    clients::table.filter(clients::id.eq(id)).filter(clients::version.eq(version))
}

impl TryFrom<ClientRow> for Client {
    type Error = diesel::result::Error;

    fn try_from(row: ClientRow) -> QueryResult<Self> {
        let id = super::canonical(&row.id).ok_or_else(|| {
            diesel::result::Error::DeserializationError("a client's id is not a UUID".into())
        })?;
        let ClientRow { name, created_at, old_secret_until, version, .. } = row;
        let kind = if row.kind == CONFIDENTIAL {
            ClientKind::Confidential { scopes: split(&row.scopes).collect() }
        } else {
            let client_settings =
                ClientSettings::from_micros((row.token_lifetime, row.retry_window));
            ClientKind::Public { origins: split(&row.origins).collect(), client_settings }
        };
        Ok(Self { id, name, kind, created_at, old_secret_until, version })
    }
}

/// The columns of the two kinds.
struct Description {
    kind: &'static str,
    scopes: String,
    origins: String,
    client_settings: ClientSettings,
}

impl Description {
    fn of(kind: &ClientKind) -> Self {
        match kind {
            ClientKind::Public { origins, client_settings } => Self {
                kind: PUBLIC,
                scopes: String::new(),
                origins: origins.join(" "),
                client_settings: *client_settings,
            },
            ClientKind::Confidential { scopes } => Self {
                kind: CONFIDENTIAL,
                scopes: scopes.join(" "),
                origins: String::new(),
                client_settings: ClientSettings::default(),
            },
        }
    }
}

pub(super) fn origins(connection: &mut AnyConnection) -> QueryResult<Vec<String>> {
    clients::table.filter(clients::origins.ne("")).select(clients::origins).load(connection)
}

/// The secrets of a client; an app has none.
#[derive(Default, Queryable, Selectable)]
#[diesel(table_name = clients)]
pub(super) struct Credentials {
    pub secret_hash: Option<Vec<u8>>,
    pub old_secret_hash: Option<Vec<u8>>,
    pub old_secret_until: Option<Timestamp>,
    pub scopes: String,
}

/// The hashes of the client's secrets, if it has any, and its scopes.
pub(super) fn credentials(
    connection: &mut AnyConnection,
    id: Id,
) -> QueryResult<Option<Credentials>> {
    clients::table
        .find(id.to_string())
        .select(Credentials::as_select())
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

/// Deletes a client, provided that it is unchanged since it was read.
pub(super) fn delete(connection: &mut AnyConnection, read: &Stored) -> QueryResult<bool> {
    diesel::delete(unchanged_since_read(read)).execute(connection).map(|rows| rows == 1)
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
