//! A thief who holds the refresh token, and a key too: reuse detection cannot be held open, lists do
//! not tell him when the owner refreshes, and a replay from elsewhere is on record.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::clock::Timestamp;
use doorward::database::AnyConnection;
use doorward::database::schema::sessions;
use serde_json::{Value, json};

use crate::support::app::behind_a_proxy;
use crate::support::client::User;
use crate::support::{Answer, TestApp, Tokens, id};

/// Past the retry window, which is 30 s by default.
const LATER: u64 = 31;

/// An access token lives so long, so that its owner refreshes about as often.
const TEN_MINUTES: u64 = 600;

const HOUR: u64 = 3600;

const OWNERS_KEY: &str = "the-key-of-the-owner-01";
const THIEFS_KEY: &str = "the-key-of-the-thief-01";

#[tokio::test]
async fn a_thief_who_repeats_token_and_key_every_25_seconds_is_detected() {
    for owners_key in [None, Some(OWNERS_KEY)] {
        let app = TestApp::start().await;
        let user = app.signed_up().await;
        let stolen = user.tokens.refresh.clone();
        app.refresh_with_key(&stolen, THIEFS_KEY).await.assert_status(200);
        let mut owner = Owner::of(&user, owners_key);
        let mut seconds = 0;
        while owner.refreshes < 3 && !owner.is_out {
            seconds += 25;
            app.advance(25);
            app.refresh_with_key(&stolen, THIEFS_KEY).await;
            if seconds % TEN_MINUTES == 0 {
                owner.refreshes(&app).await;
            }
        }
        let thief = app.refresh_with_key(&stolen, THIEFS_KEY).await;
        thief.assert_ended("refresh_token_reused");
        app.refresh(&owner.token).await.assert_ended("refresh_token_reused");
        assert!(app.live_sessions(&user.id).await.is_empty());
        app.me(&user.tokens.access).await.assert_status(401);
    }
}

#[tokio::test]
async fn a_thief_who_repeats_token_and_key_before_the_owner_is_detected_at_her_third_refresh() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let stolen = user.tokens.refresh.clone();
    let mut owner = Owner::of(&user, None);
    // He rotates; she refreshes inside the window.
    app.refresh_with_key(&stolen, THIEFS_KEY).await.assert_status(200);
    owner.refreshes(&app).await;
    for _ in 0..2 {
        // He opens the window just before she refreshes, if he may.
        app.advance(TEN_MINUTES);
        app.refresh_with_key(&stolen, THIEFS_KEY).await.assert_status(200);
        owner.refreshes(&app).await;
    }
    assert_eq!((owner.refreshes, owner.generation), (3, 2), "the third rotates");
    let seen = app.refresh_with_key(&stolen, THIEFS_KEY).await;
    seen.assert_ended("refresh_token_reused");
    app.refresh(&owner.token).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn forgiveness_and_a_proven_retry_open_the_window_once_between_them() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let stolen = user.tokens.refresh.clone();
    let mut owner = Owner::of(&user, None);
    // Without a key first, to be forgiven; the key comes while the window is open.
    app.refresh(&stolen).await.assert_status(200);
    owner.refreshes(&app).await;
    app.advance(TEN_MINUTES);
    app.refresh(&stolen).await.assert_status(200);
    app.refresh_with_key(&stolen, THIEFS_KEY).await.assert_status(200);
    owner.refreshes(&app).await;
    app.advance(TEN_MINUTES);
    app.refresh_with_key(&stolen, THIEFS_KEY).await.assert_status(200);
    owner.refreshes(&app).await;
    assert_eq!((owner.refreshes, owner.generation), (3, 2), "the third rotates");
    let seen = app.refresh_with_key(&stolen, THIEFS_KEY).await;
    seen.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn a_second_proven_retry_is_answered_and_changes_nothing() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (refresh, session) = (&user.tokens.refresh, &user.tokens.session);
    let lost = app.refresh_with_key(refresh, OWNERS_KEY).await.tokens();
    app.advance(HOUR);
    app.refresh_with_key(refresh, OWNERS_KEY).await.assert_status(200);
    let reopened = row(&app, session).await;
    for _ in 0..3 {
        app.advance(HOUR);
        let again = app.refresh_with_key(refresh, OWNERS_KEY).await.tokens();
        assert_eq!((again.generation, &again.refresh), (1, &lost.refresh));
        app.me(&again.access).await.assert_status(200);
    }
    assert_eq!(row(&app, session).await, reopened);
    let kinds = app.api.sessions.refreshes().counts();
    assert_eq!(kinds.into_iter().find(|it| it.0 == "proven_retry"), Some(("proven_retry", 4)));
    // The window is closed: the parent proves itself or ends the session.
    app.refresh(refresh).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn the_next_generation_may_open_its_window_again() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let mut refresh = user.tokens.refresh.clone();
    for generation in 1..=3 {
        let key = format!("the-key-of-generation-{generation}");
        app.refresh_with_key(&refresh, &key).await.assert_status(200);
        app.advance(HOUR);
        let again = app.refresh_with_key(&refresh, &key).await.tokens();
        // Inside the window that this opened, the parent needs no key.
        assert_eq!(app.refresh(&refresh).await.tokens().generation, generation);
        app.advance(LATER);
        refresh = again.refresh;
    }
}

#[tokio::test]
async fn a_session_of_the_schema_before_goes_on_and_opens_its_window_once() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let refresh = &user.tokens.refresh;
    app.refresh_with_key(refresh, OWNERS_KEY).await.assert_status(200);
    app.advance(HOUR);
    app.refresh_with_key(refresh, OWNERS_KEY).await.assert_status(200);
    let before = "ALTER TABLE sessions DROP COLUMN reopened_generation;
                  DELETE FROM __diesel_schema_migrations WHERE version = '20261129000100'";
    let changed = app.db().write(move |tx| match tx.connection() {
        AnyConnection::Sqlite(c) => c.batch_execute(before),
        AnyConnection::Postgres(c) => c.batch_execute(before),
    });
    changed.await.unwrap();
    let (refresh, session) = (refresh.clone(), user.tokens.session.clone());
    let app = app.restart().await;

    for reopens in [true, false] {
        app.advance(HOUR);
        let closed = row(&app, &session).await;
        let again = app.refresh_with_key(&refresh, OWNERS_KEY).await.tokens();
        assert_eq!(again.generation, 1);
        assert_eq!(row(&app, &session).await != closed, reopens);
    }
}

#[tokio::test]
async fn lists_do_not_reveal_when_an_active_session_is_refreshed() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let _idle = user.another_session().await;
    let mut shown: Vec<(Timestamp, Value)> = Vec::new();
    // She refreshes every seven minutes; a thief with an access token asks every minute.
    for minute in 0..400 {
        if minute % 7 == 0 {
            user.refresh().await.assert_status(200);
        }
        // He asks with her own token, so that nothing but her refreshes changes the list.
        let list = list(&app, &user.tokens.access).await;
        let session = list.iter().find(|it| it["id"] == *user.tokens.session).unwrap();
        let order: Vec<&Value> = list.iter().map(|it| &it["id"]).collect();
        let times = json!([session["last_seen_at"], session["expires_at"], order]);
        if shown.last().is_none_or(|(_, last)| *last != times) {
            shown.push((app.clock.now(), times));
        }
        let (last_seen, expires) = exact_times(&app, &user.tokens.session).await;
        assert_near(&session["last_seen_at"], last_seen);
        assert_near(&session["expires_at"], expires);
        app.advance(60);
    }
    assert!((6..=8).contains(&shown.len()), "{shown:?}");
    // What changes, changes with the hour: the first question after it sees it.
    for (at, times) in &shown[1..] {
        assert!(at.as_micros() % micros(HOUR) < micros(60), "{times} at {at}");
    }
    for (_, times) in &shown {
        for time in [&times[0], &times[1]] {
            assert_eq!(moment(time).as_micros() % micros(HOUR), 0, "{time}");
        }
    }
}

#[tokio::test]
async fn the_last_hours_of_a_session_are_listed_with_its_absolute_end() {
    let app = TestApp::with(|config| {
        config.sessions.idle_timeout = Duration::from_secs(3 * HOUR);
        config.sessions.absolute_timeout = Duration::from_secs(4 * HOUR);
    })
    .await;
    // Not on the hour.
    app.advance(1234);
    let mut user = app.signed_up().await;
    let ends = app.clock.now().plus(app.config.sessions.absolute_timeout);
    for minute in 0..239 {
        if minute % 7 == 0 {
            user.refresh().await.assert_status(200);
        }
        let list = list(&app, &user.tokens.access).await;
        let shown = moment(&list[0]["expires_at"]);
        assert!(shown <= ends, "{shown} is behind the session's end");
        if minute > 60 + 7 {
            assert_eq!(shown.as_micros(), ends.as_micros() / micros(HOUR) * micros(HOUR));
        }
        app.advance(60);
    }
}

#[tokio::test]
async fn a_replay_from_another_network_and_program_is_an_event_of_its_session() {
    let app = TestApp::with(behind_a_proxy).await;
    let user = app.signed_up().await;
    let refresh = &user.tokens.refresh;
    let here = ("203.0.113.7", "Phone/1.0");
    from(&app, here, refresh, Some(OWNERS_KEY)).await.assert_status(200);
    let written = row(&app, &user.tokens.session).await;
    // One of the two is another: a phone on the way, or a second program behind one address.
    from(&app, ("198.51.100.9", here.1), refresh, None).await.assert_status(200);
    from(&app, (here.0, "curl/8"), refresh, None).await.assert_status(200);
    // Both are, but the key is that of the rotation.
    from(&app, ("198.51.100.9", "curl/8"), refresh, Some(OWNERS_KEY)).await.assert_status(200);
    assert_eq!(replays(&app, &user).await, json!([]));

    let next = from(&app, ("198.51.100.9", "curl/8"), refresh, None).await.tokens();
    from(&app, ("198.51.100.9", "curl/8"), &next.refresh, None).await.assert_status(200);
    assert_eq!(row(&app, &user.tokens.session).await, written, "an answer writes no session");
    let expected = json!([{
        "session_id": user.tokens.session,
        "address": "198.51.100.9",
        "times": 2,
    }]);
    assert_eq!(replays(&app, &user).await, expected);
}

#[tokio::test]
async fn a_forgiven_replay_from_elsewhere_is_an_event_too() {
    let app = TestApp::with(behind_a_proxy).await;
    let mut user = app.signed_up().await;
    let refresh = user.tokens.refresh.clone();
    from(&app, ("203.0.113.7", "Phone/1.0"), &refresh, None).await.assert_status(200);
    app.advance(HOUR);
    user.tokens = from(&app, ("198.51.100.9", "curl/8"), &refresh, None).await.tokens();
    assert_eq!(replays(&app, &user).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_replay_from_elsewhere_that_brings_a_key_of_its_own_is_an_event_the_first_time() {
    let app = TestApp::with(behind_a_proxy).await;
    let user = app.signed_up().await;
    let refresh = &user.tokens.refresh;
    from(&app, ("203.0.113.7", "Phone/1.0"), refresh, Some(OWNERS_KEY)).await.assert_status(200);
    for _ in 0..3 {
        let answer = from(&app, ("198.51.100.9", "curl/8"), refresh, Some(THIEFS_KEY)).await;
        answer.assert_status(200);
    }
    assert_eq!(replays(&app, &user).await[0]["times"], 1);
}

#[tokio::test]
async fn replays_from_elsewhere_fill_no_table() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        config.limits.refresh_burst = 1000;
    })
    .await;
    let user = app.signed_up().await;
    let refresh = &user.tokens.refresh;
    from(&app, ("203.0.113.7", "Phone/1.0"), refresh, None).await.assert_status(200);
    for n in 0..60 {
        let address = format!("198.51.100.{n}");
        from(&app, (&address, "curl/8"), refresh, None).await.assert_status(200);
    }
    let expected = json!([{ "session_id": user.tokens.session, "address": null, "times": 60 }]);
    assert_eq!(replays(&app, &user).await, expected);
}

/// Someone who does as documented: stores what she is answered, with the highest generation.
struct Owner {
    token: String,
    generation: u64,
    key: Option<&'static str>,
    refreshes: u32,
    is_out: bool,
}

impl Owner {
    fn of(user: &User<'_>, key: Option<&'static str>) -> Self {
        let Tokens { refresh, generation, .. } = user.tokens.clone();
        Self { token: refresh, generation, key, refreshes: 0, is_out: false }
    }

    async fn refreshes(&mut self, app: &TestApp) {
        self.refreshes += 1;
        let answer = match self.key {
            Some(key) => app.refresh_with_key(&self.token, key).await,
            None => app.refresh(&self.token).await,
        };
        if answer.status == 200 {
            let Tokens { refresh, generation, .. } = answer.tokens();
            (self.token, self.generation) = (refresh, generation);
        } else {
            answer.assert_ended("refresh_token_reused");
            self.is_out = true;
        }
    }
}

/// A refresh from this address, by this program.
async fn from(
    app: &TestApp,
    (address, program): (&str, &str),
    refresh: &str,
    key: Option<&str>,
) -> Answer {
    let call = app.post("/refresh").json(&json!({ "refresh_token": refresh }));
    let call = call.header("x-forwarded-for", address).header("user-agent", program);
    match key {
        Some(key) => call.header("idempotency-key", key),
        None => call,
    }
    .send()
    .await
}

/// The account's replays from elsewhere, as its owner sees them.
async fn replays(app: &TestApp, user: &User<'_>) -> Value {
    app.api.audit.flush_failures().await.unwrap();
    let activity = app.get("/me/activity").bearer(&user.tokens.access).send().await;
    let events = activity.assert_status(200).body["events"].as_array().unwrap().clone();
    let replays = events.iter().filter(|it| it["event"] == "refresh_replayed_elsewhere");
    let told = |it: &Value| {
        json!({
            "session_id": it["session_id"],
            "address": it["address"],
            "times": it["times"],
        })
    };
    replays.map(told).collect()
}

async fn list(app: &TestApp, access: &str) -> Vec<Value> {
    let answer = app.get("/sessions").bearer(access).send().await.assert_status(200);
    answer.body["sessions"].as_array().unwrap().clone()
}

/// The columns of a session that a refresh may change.
async fn row(app: &TestApp, session: &str) -> (i64, Option<i64>, Vec<u8>, i64, i64) {
    let row = sessions::table.find(id(session)).select((
        sessions::generation,
        sessions::rotated_at,
        sessions::retry_keys,
        sessions::last_seen_at,
        sessions::expires_at,
    ));
    app.db().read(move |c| row.get_result(c)).await.unwrap()
}

/// When a session was last refreshed, and when it ends.
async fn exact_times(app: &TestApp, session: &str) -> (Timestamp, Timestamp) {
    let (.., seen, ends) = row(app, session).await;
    (Timestamp::from_micros(seen), Timestamp::from_micros(ends))
}

/// Asserts that a time in a list is at most an hour off, in either direction.
#[track_caller]
fn assert_near(shown: &Value, is: Timestamp) {
    let off = moment(shown).as_micros().abs_diff(is.as_micros());
    assert!(off <= micros(HOUR).cast_unsigned(), "{shown} for {is}");
}

fn moment(text: &Value) -> Timestamp {
    Timestamp::parse(text.as_str().unwrap()).unwrap()
}

fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap() * 1_000_000
}
