//! Commits that fail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;
use doorward::database::StoreError;
use doorward::database::schema::{sessions, users};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};

use crate::support::client::PASSWORD;
use crate::support::{Answer, TestApp};

use super::{BusyWriter, LATER, POISON, add_user, assert_transient, emails, queued};

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
    let hold = BusyWriter::on(app.db()).await;
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
    assert!(!hooked.load(Ordering::SeqCst), "a change that is not on disk has no effect in memory");
    assert_eq!(emails(&app).await, BTreeSet::new());

    app.db().write(|tx| add_user(tx, "next@example.com")).await.unwrap();
    assert_eq!(emails(&app).await, BTreeSet::from(["next@example.com".to_owned()]));
}

#[tokio::test]
async fn a_failed_commit_is_a_503_for_every_request_of_its_group() {
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
    let hold = BusyWriter::on(app.db()).await;
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
async fn a_failed_commit_fails_every_request_of_its_group() {
    // The unit that fails the requests also sees whether they have reached the writer: it comes
    // after them. If they had not, repeat with more time.
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
    let hold = BusyWriter::on(app.db()).await;
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
    /// On the writer's thread: whether the failing group contained every request.
    static SEEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
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
