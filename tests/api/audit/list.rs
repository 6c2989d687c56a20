//! `GET /me/activity`.

use serde_json::Value;

use crate::support::{PASSWORD, TestApp};

use super::{NEW_PASSWORD, activity, named};

#[tokio::test]
async fn a_user_sees_only_their_own_events() {
    let app = TestApp::start().await;
    let mut ada = app.signed_up().await;
    let bob = app.signed_up().await;
    bob.another_session().await;
    let other = ada.another_session().await;
    let path = format!("/sessions/{}", other.session);
    app.call("DELETE", &path).bearer(&ada.tokens.access).send().await.assert_status(204);
    ada.refresh().await.assert_status(200);
    let before = ada.tokens.session.clone();
    ada.tokens = ada.change_password(PASSWORD, NEW_PASSWORD).await.tokens();
    let seen = activity(&ada, "").await;
    assert_eq!(
        named(&seen),
        [
            ("session_started", None),
            ("session_ended", Some("password_changed")),
            ("password_changed", None),
            ("session_ended", Some("ended_by_user")),
            ("session_started", None),
            ("session_started", None),
            ("account_created", None),
        ]
    );
    let events = seen.body["events"].as_array().unwrap();
    assert!(events.iter().all(|it| it["user_id"] == *ada.id && it["address"] == "127.0.0.1"));
    let sessions: Vec<&Value> = events.iter().map(|it| &it["session_id"]).collect();
    assert_eq!(*sessions[0], *ada.tokens.session);
    assert_eq!((sessions[1], sessions[3]), (&before.as_str().into(), &other.session.into()));
    assert_eq!((&events[0]["times"], &seen.body["next"]), (&1.into(), &Value::Null));
    assert_eq!(activity(&bob, "").await.body["events"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_list_comes_in_pages_without_a_gap() {
    let app = TestApp::start().await;
    let ada = app.signed_up().await;
    for _ in 0..4 {
        ada.another_session().await;
    }
    let whole = activity(&ada, "").await.body["events"].clone();
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = activity(&ada, &query).await;
        seen.extend(page.body["events"].as_array().unwrap().clone());
        pages += 1;
        let Some(next) = page.body["next"].as_str() else { break };
        query = format!("?limit=2&before={next}");
    }
    assert_eq!((pages, Value::from(seen)), (3, whole));
    for query in ["limit=0", "limit=101", "limit=-1", "limit=x", "before=x", "after=1"] {
        let refused = app.get(&format!("/me/activity?{query}")).bearer(&ada.tokens.access).send();
        refused.await.assert_problem(400, "malformed_request");
    }
}
