//! Changes of a client that keep its id, its sessions and its tokens.

use std::time::Duration;

use diesel::QueryResult;

use super::description::{check_name, check_origins, check_scopes};
use super::queries;
use super::secrets::{digest, new_secret};
use super::{Client, ClientKind, Clients, InvalidClient, ProtectedClient};
use crate::audit::{self, Event, EventKind};
use crate::database::{ExpectedVersion, Id, StoreError, Tx};
use crate::secret::Secret;
use crate::tokens::TokenTooLong;

/// The longest time that a replaced secret stays valid.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A change of a client; `None` leaves a part unchanged.
#[derive(Clone, Debug, Default)]
pub struct ClientChange {
    /// The display name.
    pub name: Option<String>,
    /// All web origins of an app.
    pub origins: Option<Vec<String>>,
    /// All scopes of a service. Tokens with a removed scope stay valid until they expire.
    pub scopes: Option<Vec<String>>,
    /// The lifetime of an app's access tokens.
    pub token_lifetime: DurationChange,
    /// An app's retry window.
    pub retry_window: DurationChange,
}

/// A change of a duration that overrides a global setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DurationChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// The global setting applies.
    UseSetting,
    /// This duration applies.
    Set(Duration),
}

impl DurationChange {
    fn apply(self, present: &mut Option<Duration>) {
        match self {
            Self::Keep => {}
            Self::UseSetting => *present = None,
            Self::Set(duration) => *present = Some(duration),
        }
    }

    /// The duration, if it is set.
    #[must_use]
    pub const fn duration(self) -> Option<Duration> {
        match self {
            Self::Keep | Self::UseSetting => None,
            Self::Set(duration) => Some(duration),
        }
    }
}

/// Why a client was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ClientChangeError {
    /// No client has this id.
    #[error("the client does not exist")]
    NoSuchClient,
    /// The client has changed since the operator read it.
    #[error("the client has changed since it was read")]
    OtherVersion,
    /// Clients with a scope of Doorward are changed on the machine only.
    #[error(transparent)]
    Protected(#[from] ProtectedClient),
    /// Its description would be invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidClient),
    /// Its tokens would be too long.
    #[error(transparent)]
    TooLong(#[from] TokenTooLong),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A client's new secret, which is not stored.
#[derive(Debug)]
pub struct RotatedSecret {
    /// The client as it is now.
    pub client: Client,
    /// The new secret.
    pub secret: Secret<String>,
}

impl Clients {
    /// Changes a client, and returns the changed client. A change takes effect with its next
    /// request.
    ///
    /// # Errors
    /// [`ClientChangeError`]: nothing has changed.
    pub async fn change(
        &self,
        id: Id,
        change: ClientChange,
        expected: ExpectedVersion,
    ) -> Result<Client, ClientChangeError> {
        self.check(&change)?;
        let this = self.clone();
        self.db.write(move |tx| this.change_in_tx(tx, id, &change, &expected)).await?
    }

    /// Gives a service another secret. The present one stays valid for `overlap`, and those before
    /// it end at once.
    ///
    /// # Errors
    /// [`ClientChangeError`]: the secret has not changed.
    pub async fn rotate_secret(
        &self,
        id: Id,
        overlap: Duration,
        expected: ExpectedVersion,
    ) -> Result<RotatedSecret, ClientChangeError> {
        if overlap > MAX_OVERLAP {
            return Err(InvalidClient::Overlap.into());
        }
        let (this, secret) = (self.clone(), new_secret());
        let hash = digest(secret.expose());
        let rotated =
            self.db.write(move |tx| this.rotate_in_tx(tx, id, &hash, overlap, &expected)).await?;
        Ok(RotatedSecret { client: rotated?, secret })
    }

    fn change_in_tx(
        &self,
        tx: &mut Tx<'_>,
        id: Id,
        change: &ClientChange,
        expected: &ExpectedVersion,
    ) -> QueryResult<Result<Client, ClientChangeError>> {
        let client = match self.lock(tx, id, expected)? {
            Ok(client) => client,
            Err(refused) => return Ok(Err(refused)),
        };
        let changed = match self.changed(&client, change) {
            Ok(changed) if changed == client => return Ok(Ok(client)),
            Ok(changed) => changed,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let stored = queries::update(tx.connection(), changed)?;
        self.record(tx, EventKind::ClientChanged, id)?;
        Ok(Ok(stored))
    }

    /// The client with this change, if it is valid then. Only what changes is checked: an operator
    /// may have restricted the settings since.
    fn changed(&self, client: &Client, change: &ClientChange) -> Result<Client, ClientChangeError> {
        let changed = change.apply(client)?;
        if let ClientKind::Public { client_settings, .. } = &changed.kind
            && change.sets_duration()
        {
            self.policy.check(client_settings)?;
        }
        let present = client.scopes();
        // Any scope may be taken away: see `AccountAdmin::change_grants`.
        if changed.scopes().iter().any(|scope| !present.contains(scope)) {
            self.policy.size_limit.check_client(&changed.scopes().join(" "))?;
        }
        Ok(changed)
    }

    fn rotate_in_tx(
        &self,
        tx: &mut Tx<'_>,
        id: Id,
        hash: &[u8; 32],
        overlap: Duration,
        expected: &ExpectedVersion,
    ) -> QueryResult<Result<Client, ClientChangeError>> {
        let client = match self.lock(tx, id, expected)? {
            Ok(client) => client,
            Err(refused) => return Ok(Err(refused)),
        };
        if let ClientKind::Public { .. } = client.kind {
            return Ok(Err(InvalidClient::NoSecret.into()));
        }
        let until = (!overlap.is_zero()).then(|| self.clock.now().plus(overlap));
        let rotated = queries::replace_secret(tx.connection(), client, hash, until)?;
        self.record(tx, EventKind::ClientSecretRotated, id)?;
        Ok(Ok(rotated))
    }

    /// Removes a client in the caller's unit of work.
    pub(crate) fn remove_in_tx(
        &self,
        tx: &mut Tx<'_>,
        id: Id,
        expected: &ExpectedVersion,
    ) -> QueryResult<Result<(), ClientChangeError>> {
        if let Err(refused) = self.lock(tx, id, expected)? {
            return Ok(Err(refused));
        }
        queries::delete(tx.connection(), id)?;
        self.record(tx, EventKind::ClientRemoved, id).map(Ok)
    }

    /// Locks and reads a client that the caller may change in its present version.
    fn lock(
        &self,
        tx: &mut Tx<'_>,
        id: Id,
        expected: &ExpectedVersion,
    ) -> QueryResult<Result<Client, ClientChangeError>> {
        let Some(client) = queries::lock(tx.connection(), id)? else {
            return Ok(Err(ClientChangeError::NoSuchClient));
        };
        if let Err(protected) = self.refuse_doorward_scopes(client.scopes()) {
            return Ok(Err(protected.into()));
        }
        let is_expected = expected.allows(client.version);
        Ok(if is_expected { Ok(client) } else { Err(ClientChangeError::OtherVersion) })
    }

    fn record(&self, tx: &mut Tx<'_>, kind: EventKind, id: Id) -> QueryResult<()> {
        audit::record(tx, Event::new(kind).with_detail(id.to_string()), self.clock.now())
    }

    /// Checks the values that do not depend on the client.
    fn check(&self, change: &ClientChange) -> Result<(), ClientChangeError> {
        if let Some(name) = &change.name {
            check_name(name)?;
        }
        if let Some(origins) = &change.origins {
            check_origins(origins).map_err(InvalidClient::from)?;
        }
        if let Some(scopes) = &change.scopes {
            check_scopes(scopes)?;
            self.refuse_doorward_scopes(scopes)?;
        }
        Ok(())
    }
}

impl ClientChange {
    fn sets_duration(&self) -> bool {
        (self.token_lifetime, self.retry_window) != (DurationChange::Keep, DurationChange::Keep)
    }

    /// The client with this change.
    fn apply(&self, client: &Client) -> Result<Client, InvalidClient> {
        let mut changed = client.clone();
        if let Some(name) = &self.name {
            changed.name.clone_from(name);
        }
        match &mut changed.kind {
            ClientKind::Public { origins, client_settings } => {
                if self.scopes.is_some() {
                    return Err(InvalidClient::AppHasNoScopes);
                }
                if let Some(list) = &self.origins {
                    origins.clone_from(list);
                }
                self.token_lifetime.apply(&mut client_settings.token_lifetime);
                self.retry_window.apply(&mut client_settings.retry_window);
            }
            ClientKind::Confidential { scopes } => {
                if self.origins.is_some() || self.sets_duration() {
                    return Err(InvalidClient::ServiceHasNoAppSettings);
                }
                if let Some(list) = &self.scopes {
                    scopes.clone_from(list);
                }
            }
        }
        Ok(changed)
    }
}
