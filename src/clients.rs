//! OAuth clients: the apps and services that use Doorward, each identified by the `client_id` of
//! its tokens.
//!
//! - A *public* client is an app in a browser or on a phone, which cannot keep a secret. Its id
//!   determines its sessions, the web origins that may call, and the lifetime of its tokens.
//! - A *confidential* client is a service with a secret: it introspects tokens and obtains tokens
//!   of its own.
//!
//! Nothing is cached in memory: a client is read from the database when it is used, so adding or
//! removing one by the command line takes effect on every node at once.

mod queries;

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::QueryResult;

use crate::audit::{self, Event, EventKind};
use crate::clock::{Clock, Timestamp};
use crate::database::{AnyConnection, Database, Id, StoreError, Tx};
use crate::secret::{Secret, equal, random_bytes, sha256};

/// The built-in public client, for requests that name none.
pub const BUILT_IN: &str = "doorward";

/// The prefix of every client secret, so that people and secret scanners recognise it.
const SECRET_PREFIX: &str = "dws_";

/// The base64url characters after it: 256 bits.
const SECRET_CHARS: usize = 43;

/// The longest name, in characters.
const NAME_CHARS: usize = 100;

/// The maximum total length of a client's scopes, in bytes: its tokens carry them.
const SCOPE_BYTES: usize = 1000;

/// The clients. Clones share the database.
#[derive(Clone)]
pub struct Clients {
    db: Database,
    clock: Clock,
}

/// A client, as operators see it.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its id.
    pub id: Id,
    /// A display name.
    pub name: String,
    /// Public or confidential, with its settings.
    pub kind: ClientKind,
    /// When it was added.
    pub created_at: Timestamp,
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

/// An authenticated confidential client.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    /// Its id.
    pub id: Id,
    /// The scopes that its own tokens may have.
    pub scopes: Vec<String>,
    /// When its row was read: the lifetime of its tokens starts here.
    pub seen_at: Timestamp,
}

/// The client that a request comes from.
#[derive(Clone, Debug)]
pub enum RequestingClient {
    /// A public client, by the id as sent; its existence is not checked.
    Unauthenticated(String),
    /// An authenticated confidential client.
    Authenticated(AuthenticatedClient),
}

impl RequestingClient {
    /// A public client, or the built-in one when none is named.
    #[must_use]
    pub fn named(id: Option<String>) -> Self {
        Self::Unauthenticated(id.unwrap_or_else(|| BUILT_IN.to_owned()))
    }

    /// Its id, as in tokens and sessions.
    #[must_use]
    pub fn id(&self) -> Cow<'_, str> {
        match self {
            Self::Unauthenticated(id) => Cow::Borrowed(id),
            Self::Authenticated(client) => Cow::Owned(client.id.to_string()),
        }
    }
}

/// Why a client's description is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClient {
    /// The name is empty, too long, or has control characters.
    #[error("a name has 1 to 100 characters and no control characters")]
    Name,
    /// A scope does not match RFC 6749 3.3.
    #[error("`{0}` is not a valid scope: use visible ASCII without quotes or backslashes")]
    Scope(String),
    /// The scopes are too long together.
    #[error("the scopes have more than 1000 characters together")]
    Scopes,
}

/// Why a client was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// Its description is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidClient),
    /// The database did not store it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why client authentication failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// Unknown id, wrong secret, or a client without a secret; the answer does not say which.
    #[error("the client's id or secret is wrong")]
    Wrong,
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// No public client has this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no public client with this id")]
pub struct UnknownClient;

impl Clients {
    /// Creates the service from its dependencies.
    #[must_use]
    pub const fn new(db: Database, clock: Clock) -> Self {
        Self { db, clock }
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
            ClientKind::Public { .. } => None,
            ClientKind::Confidential { scopes } => {
                check_scopes(scopes)?;
                Some(new_secret())
            }
        };
        let created_at = self.clock.now();
        let client = Client { id: Id::new(created_at), name: name.to_owned(), kind, created_at };
        let (row, hash) = (client.clone(), secret.as_ref().map(|it| digest(it.expose())));
        self.db
            .write(move |tx| {
                queries::insert(tx.connection(), &row, hash.as_ref())?;
                let added = Event::new(EventKind::ClientAdded).detail(row.id.to_string());
                audit::record(tx, added, created_at)
            })
            .await?;
        Ok((client, secret))
    }

    /// Every added client, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list(&self) -> Result<Vec<Client>, StoreError> {
        self.db.read(queries::all).await
    }

    /// The web origins of all public clients.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn origins(&self) -> Result<HashSet<String>, StoreError> {
        let lists = self.db.read_without_timeout(queries::origins).await?;
        Ok(lists.iter().flat_map(|list| split(list)).collect())
    }

    /// Checks the id and secret of a confidential client.
    ///
    /// # Errors
    /// [`AuthenticationError`]: the client is not authenticated.
    pub async fn authenticate(
        &self,
        id: &str,
        secret: &str,
    ) -> Result<AuthenticatedClient, AuthenticationError> {
        // A malformed id needs no lookup, and its sender learns nothing from the response time.
        let id = canonical(id).ok_or(AuthenticationError::Wrong)?;
        if !is_secret(secret) {
            return Err(AuthenticationError::Wrong);
        }
        let (clock, shown) = (self.clock.clone(), digest(secret));
        let (seen_at, found) = self
            .db
            .read(move |connection| {
                let seen_at = clock.now();
                Ok((seen_at, queries::credentials(connection, id)?))
            })
            .await?;
        // A public client has no hash: for it, as for an unknown id, a dummy hash is compared.
        let (stored, scopes) = found.unwrap_or_default();
        let stored = stored.unwrap_or_else(|| vec![0; shown.len()]);
        if equal(&stored, &shown) {
            Ok(AuthenticatedClient { id, scopes: split(&scopes).collect(), seen_at })
        } else {
            Err(AuthenticationError::Wrong)
        }
    }
}

/// The session settings of the public client with this id, read in the caller's unit.
///
/// # Errors
/// The database error.
pub fn settings_of(
    connection: &mut AnyConnection,
    id: &str,
) -> QueryResult<Result<ClientSettings, UnknownClient>> {
    if id == BUILT_IN {
        return Ok(Ok(ClientSettings::default()));
    }
    match canonical(id) {
        Some(id) => Ok(queries::client_settings(connection, id)?.ok_or(UnknownClient)),
        None => Ok(Err(UnknownClient)),
    }
}

/// Whether the requesting client exists.
///
/// # Errors
/// The database error.
pub fn ensure_known(
    connection: &mut AnyConnection,
    requester: &RequestingClient,
) -> QueryResult<Result<(), UnknownClient>> {
    match requester {
        RequestingClient::Unauthenticated(id) => Ok(settings_of(connection, id)?.map(drop)),
        RequestingClient::Authenticated(_) => Ok(Ok(())),
    }
}

/// Removes a client in the caller's unit of work; false when no client has this id.
///
/// # Errors
/// The database error.
pub fn remove(tx: &mut Tx<'_>, id: Id) -> QueryResult<bool> {
    queries::delete(tx.connection(), id)
}

/// The id in its canonical form; `None` for malformed ids.
#[must_use]
pub fn canonical(text: &str) -> Option<Id> {
    Id::parse(text)
}

fn new_secret() -> Secret<String> {
    Secret::new(SECRET_PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode(random_bytes::<32>()))
}

/// The stored form of a secret: its SHA-256. A slow hash protects human-chosen passwords; 2^256
/// secrets cannot be tried, however fast the hash is.
fn digest(secret: &str) -> [u8; 32] {
    sha256(secret.as_bytes())
}

fn is_secret(text: &str) -> bool {
    text.strip_prefix(SECRET_PREFIX).is_some_and(|rest| {
        rest.len() == SECRET_CHARS
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    })
}

fn check_name(name: &str) -> Result<(), InvalidClient> {
    let is_name =
        (1..=NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if is_name && !name.trim().is_empty() { Ok(()) } else { Err(InvalidClient::Name) }
}

fn check_scopes(scopes: &[String]) -> Result<(), InvalidClient> {
    if let Some(odd) = scopes.iter().find(|scope| !is_scope(scope)) {
        return Err(InvalidClient::Scope(odd.clone()));
    }
    if scopes.join(" ").len() > SCOPE_BYTES { Err(InvalidClient::Scopes) } else { Ok(()) }
}

/// RFC 6749 3.3: `scope-token`.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b))
}

/// Lists are stored in one column, separated by spaces.
fn split(list: &str) -> impl Iterator<Item = String> {
    list.split(' ').filter(|item| !item.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_secret_has_its_shape_and_no_other() {
        let secret = new_secret();
        assert!(is_secret(secret.expose()));
        assert_ne!(secret.expose(), new_secret().expose());
        let text = secret.expose();
        for odd in [&text[1..], &text[..46], &format!("{text}a"), &text.replace("dws_", "dwr_")] {
            assert!(!is_secret(odd), "{odd}");
        }
    }

    #[test]
    fn an_id_has_one_canonical_form() {
        let id = Uuid::from_u128(0x019a_b3d4_5c2e_7a10_8f3e_2b6d_1c9e_4a75);
        assert_eq!(canonical(&id.to_string()), Some(id.into()));
        for odd in [id.simple().to_string(), id.to_string().to_uppercase(), BUILT_IN.into()] {
            assert_eq!(canonical(&odd), None, "{odd}");
        }
    }

    #[test]
    fn names_and_scopes_have_their_alphabets() {
        for name in ["", " ", "a\nb", "\u{9b}2J", &"x".repeat(101)] {
            assert_eq!(check_name(name), Err(InvalidClient::Name), "{name:?}");
        }
        assert_eq!(check_name("Shop (web)"), Ok(()));
        for scope in ["", "a b", "a\"", "a\\", "\u{e4}", "a\n"] {
            let scopes = [String::from("read"), scope.to_owned()];
            assert_eq!(check_scopes(&scopes), Err(InvalidClient::Scope(scope.into())), "{scope:?}");
        }
        assert_eq!(check_scopes(&["orders:read".into(), "https://x/y".into()]), Ok(()));
        assert_eq!(check_scopes(&["x".repeat(1001)]), Err(InvalidClient::Scopes));
    }
}
