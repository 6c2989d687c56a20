//! Login: who gets a session, the content of rejections, and races that must leave no session
//! behind.

mod answers;
mod labels;
mod races;
mod sessions;

use std::sync::mpsc;

use diesel::PgConnection;
use diesel::connection::{Connection as _, SimpleConnection as _};
use doorward::config::Config;
use tokio::sync::oneshot;

use crate::support::app::CROWD;
use crate::support::feed::looked_again;
use crate::support::postgres::waiting;
use crate::support::{TestApp, until};

/// Blocks changes of an account until they are released, in the order of arrival.
pub enum BlockedChanges {
    /// SQLite's writer, blocked.
    Writer(mpsc::Sender<()>),
    /// A PostgreSQL transaction that has locked the account's row.
    Row(PgConnection),
}

impl BlockedChanges {
    pub async fn back(app: &TestApp, user: &str) -> Self {
        if app.is_on_postgres() {
            let mut connection = PgConnection::establish(app.database()).unwrap();
            let lock = format!("BEGIN; SELECT FROM users WHERE id = '{user}' FOR UPDATE");
            connection.batch_execute(&lock).unwrap();
            return Self::Row(connection);
        }
        // Earlier writes have been read; otherwise a poll would queue up, too.
        looked_again(app).await;
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let mut begun = Some(begun);
        tokio::spawn(app.db().write(move |_| {
            let _ = begun.take().map(|begun| begun.send(()));
            let _ = released.recv();
            Ok(())
        }));
        has_begun.await.unwrap();
        Self::Writer(release)
    }

    pub fn release(self) {
        match self {
            Self::Writer(release) => drop(release),
            Self::Row(mut connection) => connection.batch_execute("COMMIT").unwrap(),
        }
    }
}

/// Waits until this many of those held back are queued. (PostgreSQL gives a released row to any
/// transaction that asks for it at that time.)
pub async fn wait_until_queued(app: &TestApp, number: usize) {
    until(async || match app.db().load().writer {
        Some((units, _)) => units >= number,
        None => usize::try_from(waiting(app.database())).unwrap() >= number,
    })
    .await;
}

/// For tests about many logins and not about their cost.
fn cheap_hashes(config: &mut Config) {
    config.passwords.memory_kib = 256;
    config.passwords.iterations = 1;
}

/// No limit except the tested one.
fn generous(config: &mut Config) {
    config.passwords.queue_capacity = 1000;
    config.database.pool_size = CROWD;
    config.limits.failed_logins_per_address = 1_000_000;
    config.limits.failed_logins_per_account = 1_000_000;
}
