//! A node whose clock is set to a wrong time and back accepts no token that was revoked before or
//! in the meantime, and has deleted nothing that was still needed, although a purge was running.

use std::time::Duration;

use doorward::clock::{Clock, Timestamp};
use doorward::database::time::server_time;

use crate::logout::{count_blocklist, of_server};
use crate::support::{TestApp, id};

const DAY: Duration = Duration::from_secs(86400);

/// An hour, and more than any session lifetime or retention.
const JUMPS: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(500 * 86400)];

#[tokio::test]
async fn a_clock_that_is_set_during_a_purge_makes_no_revoked_token_valid() {
    for jump in JUMPS {
        let app = TestApp::start().await;
        app.advance(690 + of_server(&app));
        let (before, meanwhile, good) =
            (app.signed_up().await, app.signed_up().await, app.signed_up().await);
        before.log_out().await.assert_status(204);
        let events = app.api.audit.clone();
        let count = async || events.activity(id(&before.id), None, 100).await.unwrap().events.len();
        let recorded = count().await;
        assert!(recorded > 0);

        revoke_expired(&app, 250).await;
        let checked = app.clock.now();
        assert!(app.api.revocations.purge(checked).await.unwrap(), "there is more to purge");
        app.clock.set_ahead(jump);
        end_sessions(&app, &meanwhile.id).await;
        while app.api.revocations.purge(checked).await.unwrap() {}
        while app.api.sessions.purge(checked).await.unwrap() {}
        while app.api.audit.purge(checked).await.unwrap() {}
        app.clock.set_ahead(Duration::ZERO);

        assert_eq!(count_blocklist(&app).await, 2, "{jump:?}: only expired rows are deleted");
        assert_eq!(count().await, recorded, "{jump:?}: events are kept");
        let node = app.another_node().await;
        for node in [&app, &node] {
            for ended in [&before, &meanwhile] {
                node.me(&ended.tokens.access).await.assert_problem(401, "token_revoked");
                node.refresh(&ended.tokens.refresh).await.assert_status(401);
            }
            node.me(&good.tokens.access).await.assert_status(200);
        }
        app.refresh(&good.tokens.refresh).await.assert_status(200);
    }
}

#[tokio::test]
async fn a_purge_uses_the_databases_time_if_the_nodes_is_ahead() {
    let app = TestApp::start().await;
    let own = Clock::system().now();
    let (behind, ahead) = (own.minus(DAY), own.plus(DAY));
    assert_eq!(app.db().not_later(behind).await.unwrap(), behind);
    let moment = app.db().not_later(ahead).await.unwrap();
    let server: Option<Timestamp> = app.db().read(server_time).await.unwrap();
    // SQLite has no clock of its own.
    let Some(server) = server else { return assert_eq!(moment, ahead) };
    assert!(moment <= server && moment > own.minus(Duration::from_secs(60)), "{moment} {server}");
}

/// Ids that no token has, with entries that expired a day ago.
async fn revoke_expired(app: &TestApp, count: usize) {
    let (revocations, now) = (app.api.revocations.clone(), app.clock.now());
    let revoked = app.db().write(move |tx| {
        let ids = (0..count).map(|_| (uuid::Uuid::new_v4().into(), now.minus(DAY)));
        revocations.revoke_all(tx, ids, now)
    });
    revoked.await.unwrap();
}

/// By an operator, on a machine whose clock is the same as the node's.
async fn end_sessions(app: &TestApp, user: &str) {
    let operator = app.admin();
    assert_eq!(operator.end_sessions(id(user)).await.unwrap().sessions_ended, 1);
}
