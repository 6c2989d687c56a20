//! Database failures: the responses, and the state afterwards.

mod commits;
mod disk;
mod model;
mod writer;

use std::collections::BTreeSet;
use std::sync::mpsc;

use diesel::prelude::*;
use doorward::clock::Clock;
use doorward::database::schema::users;
use doorward::database::{Database, Id, StoreError, Tx};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::support::{Answer, TestApp};

/// Past the retry window, which is 30 s by default.
const LATER: u64 = 31;

/// A session whose user does not exist, in a transaction that checks this only at the commit.
const POISON: &str = "
    PRAGMA defer_foreign_keys = ON;
    INSERT INTO sessions (id, user_id, client_id, family_hash, generation, retry_keys, created_at,
                          last_seen_at, expires_at, ends_at)
    VALUES ('poison', 'nobody', 'doorward', x'', 0, x'', 0, 0, 0, 0);";

/// Keeps the writer's thread busy, so that units queued meanwhile make one group.
struct BusyWriter {
    release: mpsc::Sender<()>,
    unit: BoxFuture<'static, Result<(), StoreError>>,
}

impl BusyWriter {
    async fn on(db: &Database) -> Self {
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let mut begun = Some(begun);
        let unit = queued(db.write(move |_| {
            if let Some(begun) = begun.take() {
                let _ = begun.send(());
            }
            let _ = released.recv();
            Ok(())
        }));
        has_begun.await.unwrap();
        Self { release, unit }
    }

    async fn release(self) {
        drop(self.release);
        assert_eq!(self.unit.await, Ok(()));
    }
}

/// Queues a unit now, even if its result is awaited later.
fn queued<T: Send + 'static>(
    unit: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> BoxFuture<'static, Result<T, StoreError>> {
    let mut unit = unit.boxed();
    // The first poll sends it to the writer.
    let early = (&mut unit).now_or_never();
    async move {
        match early {
            Some(answer) => answer,
            None => unit.await,
        }
    }
    .boxed()
}

#[track_caller]
fn assert_transient(answer: Answer) {
    let answer = answer.assert_problem(503, "unavailable");
    assert_eq!(answer.body["transient"], true, "{}", answer.text);
    let wait = answer.header("retry-after").and_then(|text| text.parse::<u64>().ok());
    assert!(wait.is_some_and(|seconds| seconds >= 1), "{:?}", answer.headers);
}

fn add_user(tx: &mut Tx<'_>, email: &str) -> QueryResult<()> {
    let now = Clock::system().now();
    let row = (
        users::id.eq(Id::new(now)),
        users::email.eq(email),
        users::email_key.eq(email),
        users::password_hash.eq("none"),
        users::created_at.eq(now),
        users::password_changed_at.eq(now),
    );
    diesel::insert_into(users::table).values(row).execute(tx.connection()).map(drop)
}

async fn emails(app: &TestApp) -> BTreeSet<String> {
    let emails = app.db().read(|c| users::table.select(users::email).load(c)).await;
    emails.unwrap().into_iter().collect()
}
