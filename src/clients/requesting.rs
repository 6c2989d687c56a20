//! The client that a request comes from, and the settings of a public one.

use std::borrow::Cow;

use diesel::QueryResult;

use super::{AuthenticatedClient, BUILT_IN, ClientSettings, queries};
use crate::database::{AnyConnection, Id};

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

/// No public client has this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public client with this id does not exist")]
pub struct UnknownClient;

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
    match Id::parse(id) {
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
