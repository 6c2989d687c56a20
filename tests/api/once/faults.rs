//! When the store fails: what is answered, and what is left.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;
use doorward::clock::Clock;
use doorward::database::schema::{sessions, users};
use doorward::database::{Database, DatabaseSettings, DatabaseUrl, Id, StoreError, Tx};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use proptest::prelude::*;

use crate::support::client::PASSWORD;
use crate::support::feed::looked_again;
use crate::support::{Answer, TestApp};

/// Past the retry window, which is 30 s by default.
const LATER: u64 = 31;

/// A session whose user does not exist, in a transaction that looks at that only when it commits.
const POISON: &str = "
    PRAGMA defer_foreign_keys = ON;
    INSERT INTO sessions (id, user_id, client_id, family_hash, generation, retry_keys, created_at,
                          last_seen_at, expires_at, ends_at)
    VALUES ('poison', 'nobody', 'doorward', x'', 0, x'', 0, 0, 0, 0);";

/// From here on every commit fails that changes an account or a session, or tries to.
const FAIL_COMMITS: &str = "
    CREATE TABLE broken (id TEXT REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER fail_1 BEFORE INSERT ON users BEGIN INSERT INTO broken VALUES ('-'); END;
    CREATE TRIGGER fail_2 BEFORE UPDATE ON users BEGIN INSERT INTO broken VALUES ('-'); END;
    CREATE TRIGGER fail_3 BEFORE INSERT ON sessions BEGIN INSERT INTO broken VALUES ('-'); END;
    CREATE TRIGGER fail_4 BEFORE UPDATE ON sessions BEGIN INSERT INTO broken VALUES ('-'); END;";

const MEND_COMMITS: &str = "
    DROP TRIGGER fail_1; DROP TRIGGER fail_2; DROP TRIGGER fail_3; DROP TRIGGER fail_4;
    DROP TABLE broken;";

#[tokio::test]
async fn a_failed_commit_fails_its_group_and_nothing_after_it() {
    let app = TestApp::start().await;
    let hooked = Arc::new(AtomicBool::new(false));
    let hold = Hold::on(app.db()).await;
    let flag = Arc::clone(&hooked);
    let before = queued(app.db().write(move |tx| {
        let flag = Arc::clone(&flag);
        tx.after_commit(move || flag.store(true, Ordering::SeqCst));
        add_user(tx, "before@example.com")
    }));
    let refusal = queued(app.db().write(|_| Ok("taken")));
    let poison = queued(app.db().write(|tx| tx.connection().batch_execute(POISON)));
    let after = queued(app.db().write(|tx| add_user(tx, "after@example.com")));
    hold.release().await;

    assert_eq!(before.await, Err(StoreError::Unavailable));
    assert_eq!(refusal.await, Err(StoreError::Unavailable));
    assert_eq!(poison.await, Err(StoreError::Unavailable));
    assert_eq!(after.await, Err(StoreError::Unavailable));
    assert!(!hooked.load(Ordering::SeqCst), "what is not on disk has no effect in memory");
    assert_eq!(emails(&app).await, BTreeSet::new());

    app.db().write(|tx| add_user(tx, "next@example.com")).await.unwrap();
    assert_eq!(emails(&app).await, BTreeSet::from(["next@example.com".to_owned()]));
}

#[tokio::test]
async fn a_failed_commit_is_a_503_to_everybody_refusals_included() {
    let app = TestApp::start().await;
    let owner = app.signed_up().await;
    let spent = owner.tokens.clone();
    let parent = app.refresh(&spent.refresh).await.tokens();
    app.advance(LATER);
    let current = app.refresh(&parent.refresh).await.tokens();
    let refreshing = owner.another_session().await;
    let leaving = owner.another_session().await;
    app.advance(LATER);
    let before = everything(&app).await;

    app.db().write(|tx| tx.connection().batch_execute(FAIL_COMMITS)).await.unwrap();
    let hold = Hold::on(app.db()).await;
    let requests: [BoxFuture<'_, Answer>; 6] = [
        app.register(&owner.email, PASSWORD).boxed(),
        app.register("new@example.com", PASSWORD).boxed(),
        app.refresh(&refreshing.refresh).boxed(),
        app.refresh(&spent.refresh).boxed(),
        app.post("/logout").bearer(&leaving.access).send().boxed(),
        app.log_in(&owner.email, PASSWORD).boxed(),
    ];
    let (answers, ()) = tokio::join!(join_all(requests), hold.release());
    for answer in answers {
        assert_transient(answer);
    }
    app.db().write(|tx| tx.connection().batch_execute(MEND_COMMITS)).await.unwrap();

    assert_eq!(everything(&app).await, before);
    for access in [&current.access, &refreshing.access, &leaving.access] {
        app.me(access).await.assert_status(200);
    }
    app.register(&owner.email, PASSWORD).await.assert_problem(409, "email_taken");
    app.register("new@example.com", PASSWORD).await.assert_status(201);
    assert_eq!(app.refresh(&refreshing.refresh).await.tokens().generation, 1);
    app.post("/logout").bearer(&leaving.access).send().await.assert_status(204);
    app.me(&leaving.access).await.assert_problem(401, "token_revoked");
    app.refresh(&spent.refresh).await.assert_ended("refresh_token_reused");
    app.me(&current.access).await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn a_failed_commit_takes_every_request_of_its_group_along() {
    // Whether the requests have reached the writer is seen by the unit that fails them: it comes
    // after them. Where they had not, once more, with more time.
    let mut patience = Duration::from_millis(200);
    while !fails_a_group_of_requests(patience).await {
        patience *= 2;
        assert!(patience < Duration::from_secs(30), "the requests never reach the writer");
    }
}

async fn fails_a_group_of_requests(patience: Duration) -> bool {
    let app = TestApp::start().await;
    let owner = app.signed_up().await;
    let leaving = owner.another_session().await;
    let before = everything(&app).await;
    let hold = Hold::on(app.db()).await;
    let requests: [BoxFuture<'_, Answer>; 3] = [
        app.register("new@example.com", PASSWORD).boxed(),
        app.refresh(&owner.tokens.refresh).boxed(),
        app.post("/logout").bearer(&leaving.access).send().boxed(),
    ];
    let poison = async {
        tokio::time::sleep(patience).await;
        let poison = queued(app.db().write(|tx| {
            tx.connection().batch_execute(POISON)?;
            Ok(())
        }));
        let late = queued(app.db().write(|tx| {
            let c = tx.connection();
            let registered: i64 =
                users::table.filter(users::email.eq("new@example.com")).count().get_result(c)?;
            let rotated: i64 =
                sessions::table.filter(sessions::generation.eq(1)).count().get_result(c)?;
            let left: i64 =
                sessions::table.filter(sessions::revoked_at.is_not_null()).count().get_result(c)?;
            SEEN.with(|seen| seen.set(registered + rotated + left == 3));
            Ok(())
        }));
        hold.release().await;
        (poison.await, late.await)
    };
    let (answers, failed) = tokio::join!(join_all(requests), poison);
    assert_eq!(failed, (Err(StoreError::Unavailable), Err(StoreError::Unavailable)));
    let seen = app.db().write(|_| Ok(SEEN.with(std::cell::Cell::take))).await.unwrap();
    if seen {
        for answer in answers {
            assert_transient(answer);
        }
        assert_eq!(everything(&app).await, before);
        app.me(&leaving.access).await.assert_status(200);
    }
    seen
}

thread_local! {
    /// On the writer's thread: whether the failing group held every request.
    static SEEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[tokio::test]
async fn more_units_than_the_writers_queue_holds_are_refused_at_once_and_the_rest_is_written() {
    /// Those that may wait, as the README says of the metric.
    const QUEUE: usize = 4096;
    let app = TestApp::start().await;
    looked_again(&app).await;
    let hold = Hold::on(app.db()).await;
    let waiting: Vec<_> = (0..QUEUE).map(|_| queued(app.db().write(|_| Ok(())))).collect();
    assert_eq!(app.db().load().writer.map(|(waiting, _)| waiting), Some(QUEUE));
    assert_eq!(app.db().write(|_| Ok(())).await, Err(StoreError::Unavailable));
    assert_transient(app.register("new@example.com", PASSWORD).await);
    app.get("/healthz").send().await.assert_status(200);
    hold.release().await;
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
    app.register("new@example.com", PASSWORD).await.assert_status(201);
}

#[tokio::test]
async fn a_failing_unit_does_not_affect_others() {
    let app = TestApp::start().await;
    let hold = Hold::on(app.db()).await;
    let one = queued(app.db().write(|tx| add_user(tx, "one@example.com")));
    let panics = queued(app.db().write(|tx| -> QueryResult<()> {
        add_user(tx, "panics@example.com")?;
        panic!("on purpose")
    }));
    let fails = queued(app.db().write(|tx| {
        add_user(tx, "fails@example.com")?;
        Err::<(), _>(diesel::result::Error::NotFound)
    }));
    let twice = queued(app.db().write(|tx| add_user(tx, "one@example.com")));
    let two = queued(app.db().write(|tx| add_user(tx, "two@example.com")));
    hold.release().await;

    assert_eq!(one.await, Ok(()));
    assert_eq!(panics.await, Err(StoreError::Failed));
    assert_eq!(fails.await, Err(StoreError::Failed));
    assert_eq!(twice.await, Err(StoreError::Failed));
    assert_eq!(two.await, Ok(()));
    let stored = ["one@example.com", "two@example.com"].map(str::to_owned);
    assert_eq!(emails(&app).await, stored.into());
    app.signed_up().await.me().await.assert_status(200);
}

#[tokio::test]
async fn a_unit_that_starts_another_panics_at_once() {
    let app = TestApp::start().await;
    let db = app.db().clone();
    let nested = app.db().write(move |_| {
        drop(db.write(|_| Ok(())));
        Ok(())
    });
    assert_eq!(nested.await, Err(StoreError::Failed));
    let db = app.db().clone();
    let nested = app.db().read(move |_| {
        drop(db.read(|_| Ok(())));
        Ok(())
    });
    assert_eq!(nested.await, Err(StoreError::Failed));
    app.signed_up().await.me().await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_is_a_503_within_3_seconds_and_verification_goes_on() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let mut other = connect(&app);
    other.batch_execute("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE").unwrap();

    let clock = Clock::system();
    let begun = clock.monotonic();
    let writes = async |after: u64| {
        tokio::time::sleep(Duration::from_millis(after)).await;
        let asked = clock.monotonic();
        assert_transient(app.refresh(&user.tokens.refresh).await);
        clock.monotonic() - asked
    };
    // They come while others wait already, so that some are in another group.
    let waits = join_all([0, 100, 500, 1000, 1500, 2100].map(writes));
    let verification = async {
        let mut count = 0;
        while clock.monotonic() - begun < Duration::from_secs(3) {
            user.me().await.assert_status(200);
            count += 1;
        }
        count
    };
    let (waits, verified) = tokio::join!(waits, verification);
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(3)), "{waits:?}");
    assert!(verified > 10, "only {verified} verifications in 3 s");
    assert_transient(app.register("new@example.com", PASSWORD).await);
    assert_transient(user.log_out().await);
    user.me().await.assert_status(200);

    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(user.refresh().await.tokens().generation, 1);
    app.register("new@example.com", PASSWORD).await.assert_status(201);
    app.get("/readyz").send().await.assert_status(200);
    user.log_out().await.assert_status(204);
    user.me().await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_loses_nothing_and_needs_no_restart() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let leaving = user.another_session().await;
    let pages = |limit: &'static str| {
        app.db().write(move |tx| {
            tx.connection().batch_execute(&format!("PRAGMA max_page_count = {limit}"))
        })
    };
    // As many as there are: the pragma takes no less.
    pages("1").await.unwrap();
    let mut acknowledged = emails(&app).await;
    for length in [3000, 300, 100, 1] {
        let refused = loop {
            let email = format!("{}{}@example.com", "x".repeat(length), acknowledged.len());
            let own = email.clone();
            match app.db().write(move |tx| add_user(tx, &own)).await {
                Ok(()) => acknowledged.insert(email),
                Err(error) => break error,
            };
        };
        assert_eq!(refused, StoreError::Unavailable);
    }
    assert_transient(app.register("new@example.com", PASSWORD).await);
    user.me().await.assert_status(200);
    app.get("/sessions").bearer(&user.tokens.access).send().await.assert_status(200);
    let left = app.post("/logout").bearer(&leaving.access).send().await;
    if left.status != 204 {
        assert_transient(left.clone());
        app.me(&leaving.access).await.assert_status(200);
    }
    let refreshed = user.refresh().await;
    if refreshed.status != 200 {
        assert_transient(refreshed);
    }
    assert_eq!(emails(&app).await, acknowledged);

    pages("1000000").await.unwrap();
    app.register("new@example.com", PASSWORD).await.assert_status(201);
    acknowledged.insert("new@example.com".into());
    app.advance(LATER);
    user.refresh().await.assert_status(200);
    let (refresh, access) = (user.tokens.refresh.clone(), user.tokens.access.clone());
    let app = app.restart().await;
    assert_eq!(emails(&app).await, acknowledged);
    app.me(&access).await.assert_status(200);
    app.refresh(&refresh).await.assert_status(200);
    if left.status == 204 {
        app.me(&leaving.access).await.assert_problem(401, "token_revoked");
    }
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Good,
    Fails,
    Panics,
    PoisonsTheCommit,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Good),
        2 => Just(Fate::Fails),
        2 => Just(Fate::Panics),
        1 => Just(Fate::PoisonsTheCommit),
    ]
}

/// Whatever becomes of units and groups: what was acknowledged is stored, and nothing else is.
#[test]
fn exactly_the_acknowledged_changes_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(&DatabaseSettings {
        url: DatabaseUrl::Sqlite(directory.path().join("test.db")),
        pool_size: 1,
        statement_timeout: Duration::from_secs(1),
        migrate: true,
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let groups = prop::collection::vec(prop::collection::vec(fate(), 1..12), 1..4);
    proptest!(ProptestConfig::with_cases(64), |(groups in groups)| {
        let (stored, acknowledged) = runtime.block_on(async {
            let mut acknowledged = BTreeSet::new();
            for (g, fates) in groups.iter().enumerate() {
                let hold = Hold::on(&db).await;
                let units: Vec<_> = fates.iter().enumerate().map(|(n, fate)| {
                    let (email, fate) = (format!("{g}.{n}@example.com"), *fate);
                    let unit = queued(db.write(move |tx| {
                        add_user(tx, &email)?;
                        match fate {
                            Fate::Good => Ok(email.clone()),
                            Fate::Fails => Err(diesel::result::Error::NotFound),
                            Fate::Panics => std::panic::resume_unwind(Box::new("on purpose")),
                            Fate::PoisonsTheCommit => {
                                tx.connection().batch_execute(POISON)?;
                                Ok(email.clone())
                            }
                        }
                    }));
                    (fate, unit)
                }).collect();
                hold.release().await;
                let poisoned = fates.iter().any(|fate| matches!(fate, Fate::PoisonsTheCommit));
                for (fate, unit) in units {
                    let answer = unit.await;
                    let good = matches!(fate, Fate::Good) && !poisoned;
                    assert_eq!(answer.is_ok(), good, "{fate:?} in {fates:?}: {answer:?}");
                    acknowledged.extend(answer);
                }
            }
            let stored = db.read(|c| users::table.select(users::email).load::<String>(c)).await;
            db.write(|tx| diesel::delete(users::table).execute(tx.connection())).await.unwrap();
            (stored.unwrap().into_iter().collect::<BTreeSet<_>>(), acknowledged)
        });
        prop_assert_eq!(stored, acknowledged);
    });
}

/// Keeps the writer's thread busy, so that what is queued meanwhile makes one group.
struct Hold {
    release: mpsc::Sender<()>,
    unit: BoxFuture<'static, Result<(), StoreError>>,
}

impl Hold {
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

/// Queues a unit now, whenever its answer is asked for.
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

#[derive(QueryableByName, Debug, PartialEq, Eq)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// Every row that a request can change, as text.
async fn everything(app: &TestApp) -> Vec<Line> {
    app.db()
        .read(|c| {
            diesel::sql_query(
                "SELECT concat_ws('|', id, email, password_hash, last_login_at) AS line FROM users
                 UNION ALL
                 SELECT concat_ws('|', id, generation, rotated_at, retry_keys, forgiven_generation,
                                  last_seen_at, expires_at, revoked_at, end_reason) FROM sessions
                 UNION ALL
                 SELECT concat_ws('|', id, expires_at) FROM blocklist",
            )
            .load(c)
        })
        .await
        .unwrap()
}

/// Another connection to the same file.
fn connect(app: &TestApp) -> SqliteConnection {
    let path: PathBuf = app.config.data_dir.join("doorward.db");
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}
