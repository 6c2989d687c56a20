//! A database that was written before stored names changed.

use diesel::connection::SimpleConnection as _;
use doorward::audit::EventKind;
use doorward::database::AnyConnection;

use crate::audit::stored;
use crate::support::TestApp;

/// The old names, as the migration's `down.sql` restores them.
const BEFORE: &str = concat!(
    include_str!("../../migrations/sqlite/2026-11-29-000400_names/down.sql"),
    "DELETE FROM __diesel_schema_migrations WHERE version = '20261129000400'"
);

#[tokio::test]
async fn a_database_with_the_old_names_is_migrated() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let phone = user.another_session().await;
    let path = format!("/sessions/{}", phone.session);
    app.call("DELETE", &path).bearer(&user.tokens.access).send().await.assert_status(204);
    let kid = app.api.keys.signing().kid().to_owned();
    crate::support::keys::revoke_key(&app, &kid).await.unwrap();
    let changed = app.db().write(|tx| match tx.connection() {
        AnyConnection::Sqlite(c) => c.batch_execute(BEFORE),
        AnyConnection::Postgres(c) => c.batch_execute(BEFORE),
    });
    changed.await.unwrap();
    assert_eq!(stored(&app, EventKind::KeyRevoked).await.len(), 0);

    let app = app.restart().await;
    app.refresh(&phone.refresh).await.assert_ended("ended_by_user");
    let revoked = stored(&app, EventKind::KeyRevoked).await;
    assert_eq!(revoked.iter().filter_map(|it| it.detail.as_deref()).collect::<Vec<_>>(), [kid]);
    let ended = stored(&app, EventKind::SessionEnded).await;
    assert_eq!(ended[0].detail.as_deref(), Some("ended_by_user"));
}
