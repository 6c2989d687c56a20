//! Mail: proof of an address, reset of a password, change of an address, notices.

mod change;
mod crash;
mod invitations;
mod keys;
mod limits;
mod links;
mod notices;
mod page;
mod program;
mod registration;
mod reset;
mod reset_validity;
mod restored;
mod same_work;
mod secrecy;
mod waiting;

use diesel::prelude::*;
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
