//! Clients: what belongs to whom, what an app may have of its own, and what the command line does.

mod commands;
mod removal;
mod sessions;
mod settings;

use doorward::sessions::client_credentials::remove_client;

use crate::support::{Client, TestApp, id};

/// As `doorward client remove` does it.
pub async fn remove(app: &TestApp, client: &Client) -> Option<usize> {
    let revocations = &app.api.revocations;
    remove_client(app.db(), &app.clock, revocations, id(&client.id)).await.unwrap()
}
