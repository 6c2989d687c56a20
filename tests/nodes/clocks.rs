//! A node whose clock is further from the database's than it may be: it answers 503 if the result
//! would depend on its clock.

use std::time::Duration;

use diesel::prelude::*;
use doorward::clock::{Clock, Timestamp};
use doorward::config::Verification;
use doorward::database::schema::mail_requests;
use doorward::mail::{MailPurpose, PurposeLabel};
use serde_json::json;

use crate::support::client::PASSWORD;
use crate::support::mailbox::{request_of, with_mail_and};
use crate::support::{Answer, TestApp, until};

/// By how many seconds the clock is wrong: a little more than it may be, minutes, a month.
const SKEWS: [i64; 6] = [40, -40, 660, -660, 31 * 86400, -31 * 86400];

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wrong_clock_answers_503_to_everything_that_its_clock_decides() {
    let base = TestApp::with(|config| {
        config.revocations.max_clock_skew = Duration::from_secs(30);
        config.sessions.max_per_user = 2;
    })
    .await;
    let one = base.another_node_by(Clock::system()).await;
    let service = one.service(&[]).await;
    for skew in SKEWS {
        let wrong = one.another_node_by(clock_ahead(skew)).await;
        let user = one.signed_up().await;
        let tokens = user.tokens.clone();

        // RFC 7009 2.2.1: a 200 would mean that the token is no longer valid.
        let revoke = wrong.post("/revoke").form(&[("token", tokens.access.as_str())]);
        assert_refused(revoke.send().await);
        let introspect = async |text: &str| {
            wrong.post("/introspect").client(&service).form(&[("token", text)]).send().await
        };
        assert_refused(introspect(&tokens.access).await);
        assert_refused(introspect(&tokens.refresh).await);
        assert_refused(wrong.get("/verify").bearer(&tokens.access).send().await);
        assert_refused(wrong.me(&tokens.access).await);
        for path in ["/logout", "/logout?scope=others", "/logout?scope=all"] {
            assert_refused(wrong.post(path).bearer(&tokens.access).send().await);
        }
        let end = wrong.call("DELETE", &format!("/sessions/{}", tokens.session));
        assert_refused(end.bearer(&tokens.access).send().await);
        let body = json!({ "password": PASSWORD });
        assert_refused(wrong.post("/me/close").bearer(&tokens.access).json(&body).send().await);

        // It issues no tokens either: their times would be wrong.
        assert_refused(wrong.refresh(&tokens.refresh).await);
        assert_refused(wrong.log_in(&user.email, PASSWORD).await);
        let grant = [("grant_type", "client_credentials")];
        assert_refused(wrong.post("/token").client(&service).form(&grant).send().await);

        // Nothing has changed, and the other node processes the same requests.
        one.me(&tokens.access).await.assert_status(200);
        let other = user.another_session().await;
        let third = one.log_in(&user.email, PASSWORD).await.tokens();
        assert_eq!(one.live_sessions(&user.id).await.len(), 2, "{skew}");
        one.refresh(&other.refresh).await.assert_status(200);
        one.post("/revoke")
            .form(&[("token", third.access.as_str())])
            .send()
            .await
            .assert_status(200);
        one.me(&third.access).await.assert_problem(401, "token_revoked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wrong_clock_ends_sessions_by_their_refresh_tokens() {
    let base = TestApp::with(|config| {
        config.revocations.max_clock_skew = Duration::from_secs(30);
    })
    .await;
    let one = base.another_node_by(Clock::system()).await;
    for skew in [660, -660] {
        let wrong = one.another_node_by(clock_ahead(skew)).await;
        let user = one.signed_up().await;
        let other = user.another_session().await;
        let body = json!({ "refresh_token": user.tokens.refresh });
        wrong.post("/logout").json(&body).send().await.assert_status(204);
        let form = [("token", other.refresh.as_str())];
        wrong.post("/revoke").form(&form).send().await.assert_status(200);
        for tokens in [&user.tokens, &other] {
            until(async || one.me(&tokens.access).await.status == 401).await;
            one.refresh(&tokens.refresh).await.assert_problem(401, "invalid_grant");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wrong_clock_neither_sends_mail_nor_accepts_its_links_and_codes() {
    let base = with_mail_and(|config| {
        config.revocations.max_clock_skew = Duration::from_secs(30);
    })
    .await;
    let one = base.another_node_by(Clock::system()).await;
    for skew in SKEWS {
        let wrong = one.another_node_by(clock_ahead(skew)).await;
        let user = one.signed_up().await;
        let new = format!("new{skew}@example.org");
        let body = json!({ "email": new, "current_password": PASSWORD });
        let ask = |node: &TestApp| node.post("/me/email").bearer(&user.tokens.access).json(&body);
        assert_refused(ask(&wrong).send().await);
        let request = request_of(ask(&one).send().await);
        one.forgot(&user.email).await;
        let link = one.message_to(&user.email).await.token();
        let code = one.message_to(&new).await.code();
        let sent = wrong.api.accounts.mail().counters().sent.clone();
        for &purpose in MailPurpose::ALL {
            assert_eq!(sent.get_or_create(&PurposeLabel { purpose }).get(), 0, "{skew}");
        }

        assert_refused(wrong.reset_by_link(&link, NEW_PASSWORD).await);
        let body = json!({ "request": request, "code": code });
        let confirm =
            |node: &TestApp| node.post("/me/email/confirm").bearer(&user.tokens.access).json(&body);
        assert_refused(confirm(&wrong).send().await);
        confirm(&one).send().await.assert_status(204);
        one.forgot(&new).await;
        let link = one.messages_to(&new).await.last().unwrap().token();
        one.reset_by_link(&link, NEW_PASSWORD).await.assert_status(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wrong_clock_stores_no_request_for_mail() {
    let base = with_mail_and(|config| {
        config.revocations.max_clock_skew = Duration::from_secs(30);
        config.accounts.verification = Verification::Required;
    })
    .await;
    let one = base.another_node_by(Clock::system()).await;
    let email = "ada@example.com";
    for skew in SKEWS {
        let wrong = one.another_node_by(clock_ahead(skew)).await;
        assert_refused(wrong.register(email, PASSWORD).await);
        let forgot = wrong.post("/password/forgot").json(&json!({ "email": email }));
        assert_refused(forgot.send().await);
    }
    let stored = one.db().read(|c| mail_requests::table.count().get_result::<i64>(c));
    assert_eq!(stored.await.unwrap(), 0);
    one.register(email, PASSWORD).await.assert_status(202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_works_again_when_its_clock_is_right_again() {
    let one = TestApp::with(|config| {
        config.revocations.max_clock_skew = Duration::from_secs(30);
    })
    .await;
    one.catch_up();
    let user = one.signed_up().await;
    one.clock.set_ahead(Duration::from_secs(3600));
    until(async || user.me().await.status == 503).await;
    assert_refused(one.refresh(&user.tokens.refresh).await);
    one.clock.set_ahead(Duration::ZERO);
    until(async || user.me().await.status == 200).await;
    one.refresh(&user.tokens.refresh).await.assert_status(200);
}

/// A clock that runs like the system's, this many seconds ahead of it.
fn clock_ahead(seconds: i64) -> Clock {
    let now = Clock::system().now().as_micros();
    Clock::system_from(Timestamp::from_micros(now + seconds * 1_000_000))
}

fn assert_refused(answer: Answer) {
    // The form of RFC 6749 has neither code nor `transient`.
    if answer.body.get("code").is_some() {
        let answer = answer.assert_problem(503, "unavailable");
        assert_eq!(answer.body["transient"], true, "{}", answer.text);
        assert!(answer.text.contains("clock"), "{}", answer.text);
    } else {
        let answer = answer.assert_status(503);
        assert!(answer.header("retry-after").is_some(), "{}", answer.text);
    }
}
