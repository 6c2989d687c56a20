//! Times in the list of sessions.

use std::time::Duration;

use doorward::clock::Timestamp;
use serde_json::{Value, json};

use crate::support::TestApp;

use super::{HOUR, row};

#[tokio::test]
async fn lists_do_not_reveal_when_an_active_session_is_refreshed() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let _idle = user.another_session().await;
    let mut shown: Vec<(Timestamp, Value)> = Vec::new();
    // She refreshes every seven minutes; a thief with an access token polls every minute.
    for minute in 0..400 {
        if minute % 7 == 0 {
            user.refresh().await.assert_status(200);
        }
        // He uses her own token, so that only her refreshes change the list.
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
    // Changes happen on the hour: the first poll after it sees them.
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
        assert!(shown <= ends, "{shown} is after the session's end");
        if minute > 60 + 7 {
            assert_eq!(shown.as_micros(), ends.as_micros() / micros(HOUR) * micros(HOUR));
        }
        app.advance(60);
    }
}

async fn list(app: &TestApp, access: &str) -> Vec<Value> {
    let answer = app.get("/sessions").bearer(access).send().await.assert_status(200);
    answer.body["sessions"].as_array().unwrap().clone()
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
