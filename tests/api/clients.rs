//! OAuth clients: ownership of sessions and tokens, client settings, and the command line.

mod change;
mod commands;
mod removal;
mod sessions;
mod settings;

use doorward::database::ExpectedVersion;
use doorward::sessions::client_credentials::remove_client;

use crate::support::{Client, TestApp, id};

/// Like `doorward client remove`.
pub async fn remove(app: &TestApp, client: &Client) -> Option<usize> {
    let revocations = &app.api.revocations;
    remove_client(&app.api.clients, revocations, id(&client.id), ExpectedVersion::Any).await.ok()
}
