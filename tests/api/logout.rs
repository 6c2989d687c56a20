//! Session termination: immediate, on every node, and after a restart. And purging: when data is
//! deleted.

mod ended;
mod keys;
mod list;
mod retention;
mod revoked_ids;
mod scopes;

use diesel::prelude::*;
use doorward::database::schema::blocklist;
use serde_json::json;

use crate::support::{Answer, PASSWORD, TestApp, Tokens, User, id};

const DAY: u64 = 86400;

/// Seconds that PostgreSQL's clock, which does not stand still, may be ahead of the test's: a
/// revocation is listed by the later one.
pub fn of_server(app: &TestApp) -> u64 {
    if app.is_on_postgres() { 60 } else { 0 }
}

/// Sessions of a user in [`ended_sessions`].
const MAX_SESSIONS: u32 = 2;

async fn with_few_sessions() -> TestApp {
    TestApp::with(|config| config.sessions.max_per_user = MAX_SESSIONS).await
}

/// A session for each end reason, ended.
async fn ended_sessions(app: &TestApp) -> Vec<(&'static str, Tokens)> {
    let mut ended = Vec::new();

    let expired = app.signed_up().await;
    app.advance(30 * DAY);
    ended.push(("expired", expired.tokens));

    let user = app.signed_up().await;
    user.log_out().await.assert_status(204);
    ended.push(("logout", user.tokens));

    let user = app.signed_up().await;
    end(app, &user, &user.tokens.session).await.assert_status(204);
    ended.push(("ended_by_user", user.tokens));

    let user = app.signed_up().await;
    app.admin().end_sessions(id(&user.id)).await.unwrap();
    ended.push(("ended_by_operator", user.tokens));

    let mut user = app.signed_up().await;
    let stolen = user.tokens.clone();
    for _ in 0..2 {
        user.refresh().await.assert_status(200);
        app.advance(31);
    }
    app.refresh(&stolen.refresh).await.assert_ended("refresh_token_reused");
    ended.push(("refresh_token_reused", user.tokens));

    let user = app.signed_up().await;
    user.change_password(PASSWORD, "nine herons borrow umbrellas").await.assert_status(200);
    ended.push(("password_changed", user.tokens));

    let user = app.signed_up().await;
    assert!(app.api.account_admin.disable(id(&user.id)).await.unwrap().changed);
    ended.push(("account_disabled", user.tokens));

    let user = app.signed_up().await;
    user.close(PASSWORD).await.assert_status(204);
    ended.push(("account_closed", user.tokens));

    let user = app.signed_up().await;
    for _ in 0..MAX_SESSIONS {
        app.advance(1);
        user.another_session().await;
    }
    ended.push(("too_many_sessions", user.tokens));
    ended
}

async fn assert_lives(app: &TestApp, tokens: &Tokens, lives: bool) {
    if lives {
        app.me(&tokens.access).await.assert_status(200);
        app.refresh(&tokens.refresh).await.assert_status(200);
    } else {
        app.me(&tokens.access).await.assert_problem(401, "token_revoked");
        app.refresh(&tokens.refresh).await.assert_problem(401, "invalid_grant");
    }
}

async fn log_out_by_token(app: &TestApp, token: &str) -> Answer {
    app.post("/logout").json(&json!({ "refresh_token": token })).send().await
}

async fn end(app: &TestApp, user: &User<'_>, session: &str) -> Answer {
    let path = format!("/sessions/{session}");
    app.call("DELETE", &path).bearer(&user.tokens.access).send().await
}

pub async fn count_blocklist(app: &TestApp) -> i64 {
    app.db().read(|c| blocklist::table.count().get_result(c)).await.unwrap()
}
