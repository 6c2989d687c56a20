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

pub(super) fn find(connection: &mut AnyConnection, id: Id) -> QueryResult<Option<Client>> {
    let row: Option<ClientRow> = clients::table
        .find(id.to_string())
        .select(ClientRow::as_select())
        .get_result(connection)
        .optional()?;
    row.map(Client::try_from).transpose()
}

/// Locks a client until the end of the unit of work, and changes nothing.
pub(super) fn lock(connection: &mut AnyConnection, id: Id) -> QueryResult<Option<Client>> {
    diesel::update(clients::table.find(id.to_string()))
        .set(clients::version.eq(clients::version))
        .execute(connection)?;
    find(connection, id)
}

/// Stores the changed description of a locked client, and returns the changed client.
pub(super) fn update(connection: &mut AnyConnection, changed: Client) -> QueryResult<Client> {
    let Description { scopes, origins, client_settings, .. } = Description::of(&changed.kind);
    let version = changed.version + 1;
    diesel::update(clients::table.find(changed.id.to_string()))
        .set((
            clients::name.eq(&changed.name),
            clients::scopes.eq(scopes),
            clients::origins.eq(origins),
            clients::token_lifetime.eq(client_settings.token_lifetime.map(micros)),
            clients::retry_window.eq(client_settings.retry_window.map(micros)),
            clients::version.eq(version),
        ))
        .execute(connection)?;
    Ok(Client { version, ..changed })
}

/// Replaces the secret of a locked client, and returns the changed client. The replaced secret is
/// accepted until `until`, or no longer if that is `None`.
pub(super) fn replace_secret(
    connection: &mut AnyConnection,
    client: Client,
    hash: &[u8; 32],
    until: Option<Timestamp>,
) -> QueryResult<Client> {
    let row = clients::table.find(client.id.to_string());
    let present: Option<Vec<u8>> =
        row.clone().select(clients::secret_hash).get_result(connection)?;
    let version = client.version + 1;
    diesel::update(row)
        .set((
            clients::old_secret_hash.eq(present.filter(|_| until.is_some())),
            clients::old_secret_until.eq(until.map(Timestamp::as_micros)),
            clients::secret_hash.eq(hash.as_slice()),
            clients::version.eq(version),
        ))
        .execute(connection)?;
    Ok(Client { old_secret_until: until, version, ..client })
}

impl TryFrom<ClientRow> for Client {
    type Error = diesel::result::Error;

    fn try_from(row: ClientRow) -> QueryResult<Self> {
        let id = Id::parse(&row.id).ok_or_else(|| {
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

pub(super) fn delete(connection: &mut AnyConnection, id: Id) -> QueryResult<()> {
    diesel::delete(clients::table.find(id.to_string())).execute(connection).map(drop)
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
