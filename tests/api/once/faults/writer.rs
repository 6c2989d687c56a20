//! The writer's queue, and units of work that fail in it.

use diesel::prelude::*;
use doorward::database::StoreError;
use futures_util::future::join_all;

use crate::support::TestApp;
use crate::support::client::PASSWORD;
use crate::support::feed::looked_again;

use super::{BusyWriter, add_user, assert_transient, emails, queued};

#[tokio::test]
async fn more_units_than_the_writers_queue_holds_are_refused_at_once_and_the_rest_is_written() {
    /// The writer's queue capacity, as documented in `docs/metrics.md`.
    const QUEUE: usize = 4096;
    let app = TestApp::start().await;
    looked_again(&app).await;
    let hold = BusyWriter::on(app.db()).await;
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
    let hold = BusyWriter::on(app.db()).await;
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
