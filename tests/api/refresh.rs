//! The decision table of refresh tokens, row by row, and the races between its rows.

mod lifetime;
mod requests;
mod retries;
mod reuse;
mod rotation;

use diesel::prelude::*;
use doorward::database::schema::{audit_events, blocklist, sessions, signing_keys, users};

use crate::support::TestApp;

/// Past the retry window, which is 30 s by default.
const LATER: u64 = 31;

const KEY_1: &str = "key-number-one-0001";
const KEY_2: &str = "key-number-two-0002";

/// The rows of users, sessions, blocklist, keys and events.
async fn row_counts(app: &TestApp) -> [i64; 5] {
    let counts = app.db().read(|c| {
        Ok([
            users::table.count().get_result(c)?,
            sessions::table.count().get_result(c)?,
            blocklist::table.count().get_result(c)?,
            signing_keys::table.count().get_result(c)?,
            audit_events::table.count().get_result(c)?,
        ])
    });
    counts.await.unwrap()
}
