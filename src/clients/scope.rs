//! The scopes of the admin API.

use super::InvalidClient;
use crate::named::named;

/// Every scope of Doorward itself begins with it.
const PREFIX: &str = "doorward:";

named! {
    /// The scopes of the admin API. They are granted by the command line only.
    pub enum AdminScope {
        /// List and show accounts and their sessions.
        UsersRead = "doorward:users.read",
        /// Create, change and delete accounts.
        UsersWrite = "doorward:users.write",
        /// End sessions.
        SessionsWrite = "doorward:sessions.write",
        /// List and show clients.
        ClientsRead = "doorward:clients.read",
        /// Create, change and remove clients that have none of these scopes.
        ClientsWrite = "doorward:clients.write",
        /// List security events.
        AuditRead = "doorward:audit.read",
    }
}

/// Whether a scope is one of Doorward's own.
pub(super) fn is_doorward_scope(scope: &str) -> bool {
    scope.starts_with(PREFIX)
}

/// Rejects a misspelled scope of Doorward.
pub(super) fn check_doorward_scopes(scopes: &[String]) -> Result<(), InvalidClient> {
    let is_known = |scope: &str| AdminScope::ALL.iter().any(|known| known.as_str() == scope);
    match scopes.iter().find(|scope| is_doorward_scope(scope) && !is_known(scope)) {
        None => Ok(()),
        Some(odd) => Err(InvalidClient::DoorwardScope(odd.clone())),
    }
}
