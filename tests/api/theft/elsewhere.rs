//! Replays from another network and program.

use serde_json::{Value, json};

use crate::support::app::behind_a_proxy;
use crate::support::client::User;
use crate::support::{Answer, TestApp};

use super::{HOUR, OWNERS_KEY, THIEFS_KEY, row};

#[tokio::test]
async fn a_replay_from_another_network_and_program_is_an_event_of_its_session() {
    let app = TestApp::with(behind_a_proxy).await;
    let user = app.signed_up().await;
    let refresh = &user.tokens.refresh;
    let here = ("203.0.113.7", "Phone/1.0");
    from(&app, here, refresh, Some(OWNERS_KEY)).await.assert_status(200);
    let written = row(&app, &user.tokens.session).await;
    // One of the two differs: a phone on the move, or a second program behind one address.
    from(&app, ("198.51.100.9", here.1), refresh, None).await.assert_status(200);
    from(&app, (here.0, "curl/8"), refresh, None).await.assert_status(200);
    // Both differ, but the key is that of the rotation.
    from(&app, ("198.51.100.9", "curl/8"), refresh, Some(OWNERS_KEY)).await.assert_status(200);
    assert_eq!(replays(&app, &user).await, json!([]));

    let next = from(&app, ("198.51.100.9", "curl/8"), refresh, None).await.tokens();
    from(&app, ("198.51.100.9", "curl/8"), &next.refresh, None).await.assert_status(200);
    assert_eq!(
        row(&app, &user.tokens.session).await,
        written,
        "a repeated response writes no \
                                                                session"
    );
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
async fn replays_from_other_devices_write_a_bounded_number_of_rows() {
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

/// The account's replays from other devices, as its owner sees them.
async fn replays(app: &TestApp, user: &User<'_>) -> Value {
    app.api.audit.write_aggregates().await.unwrap();
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
