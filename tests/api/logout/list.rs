//! The list of a user's sessions, and the end of one of them.

use serde_json::{Value, json};

use crate::support::{PASSWORD, TestApp};

use super::{DAY, assert_lives, end, log_out_by_token};

const HOUR: u64 = 3600;

#[tokio::test]
async fn the_list_shows_ones_own_live_sessions() {
    let app = TestApp::start().await;
    // Times are rounded to the hour, so the test begins on one.
    let began = HOUR - app.clock.now().unix_seconds().cast_unsigned() % HOUR;
    app.advance(began);
    let mut user = app.signed_up().await;
    let _stranger = app.signed_up().await;
    app.advance(10);
    let body = json!({ "email": user.email, "password": PASSWORD, "label": "Ada's phone" });
    let request = app.post("/login").header("user-agent", "  Phone/1.0 ").json(&body);
    let phone = request.send().await.tokens();
    let ended = user.another_session().await;
    log_out_by_token(&app, &ended.refresh).await.assert_status(204);

    let list = sessions_of(&app, &phone.access).await;
    assert_eq!(list.len(), 2);
    let expected = json!({
        "id": phone.session,
        "label": "Ada's phone",
        "user_agent": "Phone/1.0",
        "address": "127.0.0.1",
        "created_at": app.moment(began + 10),
        "last_seen_at": app.moment(began),
        "expires_at": app.moment(began + 30 * DAY),
        "current": true,
    });
    assert_eq!(list[0], expected);
    assert_eq!(list[1]["id"], user.tokens.session);
    assert_eq!((&list[1]["label"], &list[1]["current"]), (&json!(null), &json!(false)));

    // A refresh moves a session to the front, with its new address.
    app.advance(2 * HOUR);
    let body = json!({ "refresh_token": user.tokens.refresh });
    let request = app.post("/refresh").header("user-agent", "Tab/2.0").json(&body);
    user.tokens = request.send().await.tokens();
    let list = sessions_of(&app, &user.tokens.access).await;
    assert_eq!(list[0]["id"], user.tokens.session);
    assert_eq!(list[0]["user_agent"], "Tab/2.0");
    assert_eq!(list[0]["created_at"], app.moment(began));
    assert_eq!(list[0]["last_seen_at"], app.moment(began + 2 * HOUR));
    assert_eq!(list[0]["expires_at"], app.moment(began + 30 * DAY + 2 * HOUR));
    assert_eq!(list[0]["current"], true);
    assert_eq!((&list[1]["id"], &list[1]["current"]), (&json!(phone.session), &json!(false)));
    assert_eq!(list[1]["last_seen_at"], app.moment(began + HOUR));
    assert_eq!(list[1]["expires_at"], app.moment(began + 30 * DAY + HOUR));

    app.advance(30 * DAY - 1);
    let present = user.another_session().await;
    let list = sessions_of(&app, &present.access).await;
    let ids: Vec<&Value> = list.iter().map(|session| &session["id"]).collect();
    assert_eq!(ids, [&present.session, &user.tokens.session], "the phone's has expired");
    app.get("/sessions").send().await.assert_problem(401, "missing_token");
}

#[tokio::test]
async fn a_session_is_ended_by_its_id() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (lost, kept) = (user.another_session().await, user.another_session().await);
    end(&app, &user, &lost.session).await.assert_status(204);
    app.me(&lost.access).await.assert_problem(401, "token_revoked");
    app.refresh(&lost.refresh).await.assert_ended("ended_by_user");
    end(&app, &user, &lost.session).await.assert_problem(404, "not_found");

    end(&app, &user, &user.tokens.session.to_uppercase()).await.assert_status(204);
    user.me().await.assert_problem(401, "token_revoked");
    assert_lives(&app, &kept, true).await;
}

#[tokio::test]
async fn a_user_cannot_end_another_users_session() {
    let app = TestApp::start().await;
    let (user, other) = (app.signed_up().await, app.signed_up().await);
    let theirs = end(&app, &user, &other.tokens.session).await.assert_problem(404, "not_found");
    let nobodys = uuid::Uuid::new_v4().to_string();
    let nobodys = end(&app, &user, &nobodys).await.assert_problem(404, "not_found");
    assert_eq!(theirs.body["detail"], nobodys.body["detail"], "its existence is not revealed");
    for id in ["1", "all", "%20", "..%2f", "00000000-0000-0000-0000-000000000000"] {
        end(&app, &user, id).await.assert_problem(404, "not_found");
    }
    let path = format!("/sessions/{}", other.tokens.session);
    app.call("DELETE", &path).send().await.assert_problem(401, "missing_token");
    assert_lives(&app, &other.tokens, true).await;
}

#[tokio::test]
async fn an_expired_session_can_be_ended() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    app.advance(30 * DAY);
    let present = user.another_session().await;
    let path = format!("/sessions/{}", user.tokens.session);
    app.refresh(&user.tokens.refresh).await.assert_ended("expired");
    // The clock that decides this may be wrong.
    let request = app.call("DELETE", &path).bearer(&present.access);
    request.send().await.assert_status(204);
    app.refresh(&user.tokens.refresh).await.assert_ended("ended_by_user");
    let request = app.call("DELETE", &path).bearer(&present.access);
    request.send().await.assert_problem(404, "not_found");
}

async fn sessions_of(app: &TestApp, access: &str) -> Vec<Value> {
    let list = app.get("/sessions").bearer(access).send().await.assert_status(200);
    list.body["sessions"].as_array().unwrap().clone()
}
