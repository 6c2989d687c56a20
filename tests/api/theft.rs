//! A thief who holds the refresh token, and a key too: he cannot delay reuse detection, lists do
//! not tell him when the owner refreshes, and a replay from another device is recorded.

mod elsewhere;
mod lists;
mod windows;

use diesel::prelude::*;
use doorward::database::schema::sessions;

use crate::support::{TestApp, id};

const HOUR: u64 = 3600;

const OWNERS_KEY: &str = "the-key-of-the-owner-01";
const THIEFS_KEY: &str = "the-key-of-the-thief-01";

/// The columns of a session that a refresh may change.
async fn row(app: &TestApp, session: &str) -> (i64, Option<i64>, Vec<u8>, i64, i64) {
    let row = sessions::table.find(id(session)).select((
        sessions::generation,
        sessions::rotated_at,
        sessions::retry_keys,
        sessions::last_seen_at,
        sessions::expires_at,
    ));
    app.db().read(move |c| row.get_result(c)).await.unwrap()
}
