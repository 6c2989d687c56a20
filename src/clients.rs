//! OAuth clients: the apps and services that use Doorward, each identified by the `client_id` of
//! its tokens.
//!
//! - A *public* client is an app in a browser or on a phone, which cannot keep a secret. Its id
//!   determines its sessions, the web origins that may call, and the lifetime of its tokens.
//! - A *confidential* client is a service with a secret: it introspects tokens and obtains its own
//!   tokens.
//!
//! A client is read from the database when it is used, so adding, changing or removing one takes
//! effect on every node at once. Only the web origins are cached (`http::middleware::cors`), for
//! two seconds.

mod authentication;
mod change;
mod description;
mod json;
mod policy;
mod queries;
mod requesting;
mod scope;
mod secrets;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use crate::audit::{self, Event, EventKind};
use crate::clock::{Clock, Timestamp};
use crate::database::{Database, Id, StoreError};
use crate::secret::Secret;
use crate::tokens::TokenTooLong;

pub use authentication::{AuthenticatedClient, AuthenticationError};
pub use change::{ClientChange, ClientChangeError, DurationChange, MAX_OVERLAP, RotatedSecret};
pub use description::{InvalidClient, InvalidOrigin, check_origin};
use description::{check_name, check_origins, check_scopes};
pub use policy::{ClientPolicy, MIN_TOKEN_LIFETIME};
pub use requesting::{RequestingClient, UnknownClient, ensure_known, settings_of};
pub use scope::AdminScope;
use secrets::{digest, new_secret};

/// The built-in public client, for requests that name none.
pub const BUILT_IN: &str = "doorward";

/// The clients. Clones share the database.
#[derive(Clone)]
pub struct Clients {
    db: Database,
    clock: Clock,
    policy: ClientPolicy,
    channel: CallChannel,
}

/// How a change of a client arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallChannel {
    /// By a command on the machine, or a test.
    Machine,
    /// Over HTTP: scopes of Doorward are out of reach.
    Http,
}

/// A client, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: Id,
    /// A display name.
    pub name: String,
    /// Public or confidential, with its settings.
    pub kind: ClientKind,
    /// When it was added.
    pub created_at: Timestamp,
    /// Until when the secret before the present one is accepted.
    pub old_secret_until: Option<Timestamp>,
    /// A number that rises with every change.
    pub version: i64,
}

/// The two kinds of RFC 6749 2.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// An app, which cannot keep a secret.
    Public {
        /// The web origins from which it may call.
        origins: Vec<String>,
        /// The client's settings for its sessions.
        client_settings: ClientSettings,
    },
    /// A service, which authenticates with a secret.
    Confidential {
        /// The scopes that its own tokens may have.
        scopes: Vec<String>,
    },
}

/// Per-client settings of a public client; absent ones fall back to the global settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// The lifetime of its access tokens.
    pub token_lifetime: Option<Duration>,
    /// How long after a rotation the previous token is accepted without proof; zero for never.
    pub retry_window: Option<Duration>,
}

/// Why a client was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// Its description is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidClient),
    /// Its tokens would be too long.
    #[error(transparent)]
    TooLong(#[from] TokenTooLong),
    /// Scopes of Doorward are granted on the machine only.
    #[error(transparent)]
    Protected(#[from] ProtectedClient),
    /// The database did not store it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A client with a scope of Doorward was to be changed or created over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("clients with a scope of doorward: are administered on the machine only")]
pub struct ProtectedClient;

impl Client {
    /// The scopes of a service; an app has none.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        match &self.kind {
            ClientKind::Public { .. } => &[],
            ClientKind::Confidential { scopes } => scopes,
        }
    }
}

impl Clients {
    /// Creates the service from its dependencies.
    #[must_use]
    pub const fn new(db: Database, clock: Clock, policy: ClientPolicy) -> Self {
        Self { db, clock, policy, channel: CallChannel::Machine }
    }

    /// Adds a client. A confidential client gets a secret, which is not stored and is returned only
    /// here.
    ///
    /// # Errors
    /// [`AddError`]: nothing was added.
    pub async fn add(
        &self,
        name: &str,
        kind: ClientKind,
    ) -> Result<(Client, Option<Secret<String>>), AddError> {
        check_name(name)?;
        let secret = match &kind {
            ClientKind::Public { origins, client_settings } => {
                check_origins(origins).map_err(InvalidClient::from)?;
                self.policy.check(client_settings)?;
                None
            }
            ClientKind::Confidential { scopes } => {
                check_scopes(scopes)?;
                self.refuse_doorward_scopes(scopes)?;
                self.policy.size_limit.check_client(&scopes.join(" "))?;
                Some(new_secret())
            }
        };
        let created_at = self.clock.now();
        let (id, name) = (Id::new(created_at), name.to_owned());
        let (old_secret_until, version) = (None, 0);
        let client = Client { id, name, kind, created_at, old_secret_until, version };
        let (row, hash) = (client.clone(), secret.as_ref().map(|it| digest(it.expose())));
        self.db
            .write(move |tx| {
                queries::insert(tx.connection(), &row, hash.as_ref())?;
                let added = Event::new(EventKind::ClientAdded).with_detail(row.id.to_string());
                audit::record(tx, added, created_at)
            })
            .await?;
        Ok((client, secret))
    }

    /// The database, for the units of work that remove a client.
    pub(crate) const fn database(&self) -> &Database {
        &self.db
    }

    /// The clock of these units.
    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The same clients for a caller of the admin API, as the audit trail names it.
    #[must_use]
    pub fn over_http(&self, actor: &str) -> Self {
        let db = self.db.clone().with_actor(actor);
        Self { db, channel: CallChannel::Http, ..self.clone() }
    }

    /// Refuses scopes of Doorward over HTTP.
    fn refuse_doorward_scopes(&self, scopes: &[String]) -> Result<(), ProtectedClient> {
        let is_protected = scopes.iter().any(|scope| scope::is_doorward_scope(scope));
        if self.channel == CallChannel::Http && is_protected {
            return Err(ProtectedClient);
        }
        Ok(())
    }

    /// Whether a service has this scope now. A token may be older than a change of the scopes.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn has_scope(&self, id: Id, scope: AdminScope) -> Result<bool, StoreError> {
        let found = self.db.read(move |c| queries::find(c, id)).await?;
        Ok(found.is_some_and(|client| client.scopes().iter().any(|it| it == scope.as_str())))
    }

    /// A client.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find(&self, id: Id) -> Result<Option<Client>, StoreError> {
        self.db.read(move |c| queries::find(c, id)).await
    }

    /// Every added client, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list(&self) -> Result<Vec<Client>, StoreError> {
        self.db.read(queries::all).await
    }

    /// The clients whose own tokens with all of their scopes are longer than `tokens.max_bytes`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn oversized_tokens(&self) -> Result<Vec<Id>, StoreError> {
        let is_oversized = |client: &Client| match &client.kind {
            ClientKind::Public { .. } => false,
            ClientKind::Confidential { scopes } => {
                self.policy.size_limit.check_client(&scopes.join(" ")).is_err()
            }
        };
        let clients = self.list().await?;
        Ok(clients.iter().filter(|it| is_oversized(it)).map(|client| client.id).collect())
    }

    /// The web origins of all public clients.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn origins(&self) -> Result<HashSet<String>, StoreError> {
        let lists = self.db.read_without_timeout(queries::origins).await?;
        Ok(lists.iter().flat_map(|list| split(list)).collect())
    }
}

/// Lists are stored in one column, separated by spaces.
fn split(list: &str) -> impl Iterator<Item = String> {
    list.split(' ').filter(|item| !item.is_empty()).map(str::to_owned)
}
