//! Mail: proof of an address, reset of a password, change of an address, notices.

mod change;
mod crash;
mod erasure;
mod invitations;
mod keys;
mod limits;
mod links;
mod notices;
mod page;
mod program;
mod quotas;
mod registration;
mod reset;
mod reset_validity;
mod restored;
mod room;
mod same_work;
mod secrecy;
mod waiting;

use std::time::Duration;

use diesel::prelude::*;
use doorward::database::Id;
use doorward::database::schema::mail_requests;

use crate::support::TestApp;

/// A password that no test registers with.
const NEW_PASSWORD: &str = "nine herons borrow umbrellas";
/// Another one.
const OTHER_PASSWORD: &str = "eleven badgers paint lighthouses";

/// The number of stored mail requests.
async fn rows(app: &TestApp) -> i64 {
    app.db().read(|c| mail_requests::table.count().get_result(c)).await.unwrap()
}

/// Asserts that no request says anything about a person but the key of the address that the limits
/// count by, that none is sent or works, and that a purge an hour later deletes all.
async fn assert_no_traces(app: &TestApp) {
    type Personal = (Option<Id>, Option<Id>, Option<String>, Option<String>, Option<String>);
    use mail_requests as table;
    let left = app.db().read(|c| {
        table::table
            .select((
                (table::user_id, table::device, table::password_hash, table::detail, table::locale),
                (table::address, table::message, table::next_send_at, table::outcome.is_null()),
            ))
            .load::<(Personal, (String, Option<String>, Option<i64>, bool))>(c)
    });
    let nothing = ((None, None, None, None, None), (String::new(), None, None, false));
    for row in left.await.unwrap() {
        assert_eq!(row, nothing);
    }
    let stays_until = app.db().read(|c| {
        table::table.select(diesel::dsl::max(table::expires_at)).get_result::<Option<i64>>(c)
    });
    let latest = stays_until.await.unwrap().unwrap_or_default();
    let hour = app.clock.now().plus(Duration::from_secs(60 * 60));
    assert!(latest <= hour.as_micros(), "a purge deletes all within an hour");
}
