//! Two nodes, one database, and clients that use one refresh token on both concurrently.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::database::schema::sessions;
use futures_util::future::join_all;

use crate::support::app::CROWD;
use crate::support::postgres::{number_of, waiting};
use crate::support::{TestApp, Tokens, id, until};

/// Races, unless `DOORWARD_TEST_RACES` is set.
const RACES: u64 = 400;

/// Sessions that race concurrently.
const SESSIONS: u64 = 8;

/// Past the retry window, which is 30 s by default.
const LATER: u64 = 31;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_uses_of_a_token_on_two_nodes_make_one_lineage() {
    let app = TestApp::with(|config| config.database.pool_size = CROWD).await;
    race(&app, |_| None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_retry_window_parallel_uses_with_one_key_make_one_lineage() {
    let strict = TestApp::with(|config| {
        config.sessions.retry_window = Duration::ZERO;
        config.database.pool_size = CROWD;
    })
    .await;
    race(&strict, |race| Some(format!("the-key-of-the-race-{race:06}"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reuse_detected_by_losing_a_race_is_stored_completely_or_not_at_all() {
    let app = TestApp::with(|config| config.sessions.retry_window = Duration::ZERO).await;
    let user = app.signed_up().await;
    let (session, refresh) = (&user.tokens.session, &user.tokens.refresh);
    let mut other = PgConnection::establish(app.database()).unwrap();
    // The last statement of ending a session fails.
    other
        .batch_execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RAISE EXCEPTION ''not now''; END';
             CREATE TRIGGER refuse BEFORE INSERT ON blocklist EXECUTE FUNCTION refuse()",
        )
        .unwrap();
    // Both have read the row before the first of them may change it.
    hold(&mut other, session);
    let (first, second, ()) = tokio::join!(app.refresh(refresh), app.refresh(refresh), async {
        until(async || waiting(app.database()) == 2).await;
        other.batch_execute("COMMIT").unwrap();
    });
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    assert_eq!(app.live_sessions(&user.id).await, [session.as_str()], "nothing has ended");

    other.batch_execute("DROP TRIGGER refuse ON blocklist").unwrap();
    app.refresh(refresh).await.assert_ended("refresh_token_reused");
    app.me(&user.tokens.access).await.assert_problem(401, "token_revoked");
    assert!(app.live_sessions(&user.id).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_token_during_its_proven_retry_on_another_node_ends_nothing() {
    const KEY: &str = "the-key-of-the-first-request";
    let one = TestApp::start().await;
    let other = one.another_node().await;
    let user = one.signed_up().await;
    let refresh = &user.tokens.refresh;
    let next = one.refresh_with_key(refresh, KEY).await.tokens();
    one.advance(LATER);
    // The retry is first in the queue for the row, and the other has read the row as it was before.
    let mut holding = PgConnection::establish(one.database()).unwrap();
    hold(&mut holding, &user.tokens.session);
    let waiting = || waiting(one.database());
    let (retry, spent, ()) = tokio::join!(
        one.refresh_with_key(refresh, KEY),
        async {
            until(async || waiting() == 1).await;
            other.refresh(refresh).await
        },
        async {
            until(async || waiting() == 2).await;
            holding.batch_execute("COMMIT").unwrap();
        }
    );
    assert_eq!(retry.tokens().refresh, next.refresh);
    assert_eq!(spent.tokens().refresh, next.refresh);
    assert_eq!(one.live_sessions(&user.id).await, [user.tokens.session.as_str()]);
}

/// Locks a session's row until the connection commits.
fn hold(connection: &mut PgConnection, session: &str) {
    connection.batch_execute("BEGIN").unwrap();
    sessions::table
        .find(id(session))
        .for_update()
        .select(sessions::generation)
        .get_result::<i64>(connection)
        .unwrap();
}

/// Uses each token two to four times simultaneously, on both nodes in turn, and continues with the
/// responses.
async fn race(one: &TestApp, key: impl Fn(u64) -> Option<String>) {
    let other = one.another_node().await;
    let nodes = [one, &other];
    let user = one.signed_up().await;
    let mut lineages = Vec::new();
    for _ in 0..SESSIONS {
        lineages.push(user.another_session().await);
    }
    let races = number_of("DOORWARD_TEST_RACES").unwrap_or(RACES);
    for round in 0..races.div_ceil(SESSIONS) {
        one.advance(LATER);
        join_all(lineages.iter_mut().zip(0..).map(async |(tokens, lane)| {
            let race = round * SESSIONS + lane;
            let key = key(race);
            let answers = (race..race + 2 + race % 3).map(async |count| {
                let node = nodes[usize::try_from(count % 2).unwrap()];
                let answer = match &key {
                    Some(key) => node.refresh_with_key(&tokens.refresh, key).await,
                    None => node.refresh(&tokens.refresh).await,
                };
                answer.tokens()
            });
            let answers = join_all(answers).await;
            let of = |tokens: &Tokens| (tokens.refresh.clone(), tokens.generation);
            assert!(answers.iter().all(|answer| of(answer) == of(&answers[0])), "{answers:?}");
            assert_eq!(answers[0].generation, tokens.generation + 1);
            *tokens = answers.into_iter().last().unwrap();
        }))
        .await;
    }
    for tokens in &lineages {
        assert_eq!(tokens.generation, races.div_ceil(SESSIONS));
        let session = id(&tokens.session);
        let row =
            sessions::table.find(session).select((sessions::generation, sessions::end_reason));
        let stored =
            one.db().read(move |c| row.get_result::<(i64, Option<String>)>(c)).await.unwrap();
        assert_eq!((u64::try_from(stored.0).unwrap(), stored.1), (tokens.generation, None));
    }
}
