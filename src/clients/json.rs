//! A client as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Client, ClientKind};

impl Client {
    /// The members that the admin API and `doorward client list --json` show: everything but the
    /// version. Lifetimes are in seconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self { id, name, kind, created_at, old_secret_until, .. } = self;
        let seconds = |duration: Option<Duration>| duration.map(|it| it.as_secs_f64());
        match kind {
            ClientKind::Public { origins, client_settings } => json!({
                "client_id": id,
                "name": name,
                "kind": "public",
                "origins": origins,
                "token_lifetime_seconds": seconds(client_settings.token_lifetime),
                "retry_window_seconds": seconds(client_settings.retry_window),
                "created_at": created_at,
            }),
            ClientKind::Confidential { scopes } => json!({
                "client_id": id,
                "name": name,
                "kind": "confidential",
                "scopes": scopes,
                "old_secret_until": old_secret_until,
                "created_at": created_at,
            }),
        }
    }
}
