//! The web origins of the public clients, which may call from a browser as those of the settings may.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix_web::http::header::HeaderValue;

use crate::clients::Clients;
use crate::database::StoreError;

/// How often the clients are asked for their origins.
const LOOK: Duration = Duration::from_secs(2);

/// The origins of the clients that are registered now. Clones share them.
#[derive(Clone)]
pub struct ClientOrigins {
    clients: Clients,
    known: Arc<RwLock<HashSet<String>>>,
}

impl ClientOrigins {
    /// Asks for them the first time.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn load(clients: Clients) -> Result<Self, StoreError> {
        let known = Arc::new(RwLock::new(clients.origins().await?));
        Ok(Self { clients, known })
    }

    /// Asks for them again and again. While the database is away they stay as they are.
    pub async fn follow(&self) {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            if let Ok(origins) = self.clients.origins().await {
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = origins;
            }
        }
    }

    /// Whether this `Origin` is one of them, letter by letter.
    #[must_use]
    pub fn contains(&self, origin: &HeaderValue) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        origin.to_str().is_ok_and(|origin| known.contains(origin))
    }
}
