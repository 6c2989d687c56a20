//! Mail requests and messages on two nodes.

use diesel::prelude::*;
use doorward::config::Verification;
use doorward::database::schema::audit_events;
use doorward::mail::{MailPurpose, PurposeLabel};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::app::CROWD;
use crate::support::mailbox::{race_invitation, race_resets, request_of, with_mail_and};
use crate::support::{Answer, PASSWORD, TestApp, id};

#[tokio::test]
async fn two_nodes_send_each_message_once() {
    let app = with_mail_and(|config| config.database.pool_size = CROWD).await;
    let other = app.another_node().await;
    let mut users = Vec::new();
    for _ in 0..4 {
        users.push(app.signed_up().await.email);
    }
    let asks = (0..24).map(|n| {
        let node = if n % 2 == 0 { &app } else { &other };
        let (email, network) = (&users[n % 4], format!("198.51.100.{n}"));
        async move { node.forgot_from(&network, email).await.assert_status(202) }
    });
    join_all(asks).await;
    app.until_mail_is_sent().await;
    let sent = |node: &TestApp| {
        let counters = &node.api.accounts.mail().counters().sent;
        counters.get_or_create(&PurposeLabel { purpose: MailPurpose::Reset }).get()
    };
    let of_both = sent(&app) + sent(&other);
    assert_eq!(of_both, u64::try_from(app.messages().await.len()).unwrap());
    assert_eq!(of_both, 24);
}

#[tokio::test]
async fn two_nodes_record_each_request_over_the_limit_once() {
    let app = with_mail_and(|config| config.database.pool_size = CROWD).await;
    let other = app.another_node().await;
    let email = app.signed_up().await.email;
    // Twelve from unknown networks get a message.
    let asks = (0..30).map(|n| {
        let node = if n % 2 == 0 { &app } else { &other };
        let (email, network) = (&email, format!("198.51.100.{n}"));
        async move { node.forgot_from(&network, email).await.assert_status(202) }
    });
    join_all(asks).await;
    app.until_mail_is_sent().await;
    let limited = |node: &TestApp| {
        let counters = &node.api.accounts.mail().counters().over_limit;
        counters.get_or_create(&PurposeLabel { purpose: MailPurpose::Reset }).get()
    };
    assert_eq!(limited(&app) + limited(&other), 18);
    let recorded = app.db().read(|c| {
        audit_events::table
            .filter(audit_events::event.eq("mail_limited"))
            .count()
            .get_result::<i64>(c)
    });
    assert_eq!(recorded.await.unwrap(), 18);
}

#[tokio::test]
async fn of_twenty_concurrent_requests_of_operators_on_two_nodes_three_are_accepted() {
    let app = with_mail_and(|config| config.database.pool_size = CROWD).await;
    let other = app.another_node().await;
    let user = id(&app.signed_up().await.id);
    let asks = (0..20).map(|n| {
        let node = if n % 2 == 0 { &app } else { &other };
        async move { node.api.account_admin.mail_reset(user).await }
    });
    let answers = join_all(asks).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3, "{answers:?}");
}

#[tokio::test]
async fn of_twenty_concurrent_uses_on_two_nodes_one_succeeds() {
    let app = with_mail_and(|config| config.database.pool_size = CROWD).await;
    race_resets(&app, &app.another_node().await).await;
}

#[tokio::test]
async fn of_twenty_concurrent_confirmations_on_two_nodes_one_creates_the_account() {
    let app = with_mail_and(|config| {
        config.database.pool_size = CROWD;
        config.accounts.verification = Verification::Required;
    })
    .await;
    let other = app.another_node().await;
    let email = "ada@example.com";
    let passwords = [PASSWORD, "nine herons borrow umbrellas"];
    let mut proofs = Vec::new();
    for password in passwords {
        let request = request_of(app.register(email, password).await);
        app.until_mail_is_sent().await;
        app.advance(1);
        proofs.push((request, app.messages_to(email).await.last().unwrap().code()));
    }
    let attempts = (0..20).map(|n| {
        let (node, (request, code)) = (if n % 4 < 2 { &app } else { &other }, &proofs[n % 2]);
        async move { (node.confirm(request, code).await, n % 2) }
    });
    let answers = join_all(attempts).await;
    let winner = the_one_that_succeeded(answers, 201);
    app.log_in(email, passwords[winner]).await.assert_status(200);
    app.log_in(email, passwords[1 - winner]).await.assert_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn of_two_accounts_that_confirm_one_address_on_two_nodes_one_gets_it() {
    const NEW: &str = "grace@example.org";
    let app = with_mail_and(|config| config.database.pool_size = CROWD).await;
    let other = app.another_node().await;
    let users = [app.signed_up().await, app.signed_up().await];
    let mut proofs = Vec::new();
    for user in &users {
        let body = json!({ "email": NEW, "current_password": PASSWORD });
        let call = app.post("/me/email").bearer(&user.tokens.access).json(&body);
        let request = request_of(call.send().await);
        app.until_mail_is_sent().await;
        app.advance(1);
        proofs.push((request, app.messages_to(NEW).await.last().unwrap().code()));
    }
    let attempts = (0..20).map(|n| {
        let node = if n % 4 < 2 { &app } else { &other };
        let ((request, code), access) = (&proofs[n % 2], &users[n % 2].tokens.access);
        let body = json!({ "request": request, "code": code });
        let call = node.post("/me/email/confirm").bearer(access).json(&body);
        async move { (call.send().await, n % 2) }
    });
    let answers = join_all(attempts).await;
    let winner = the_one_that_succeeded(answers, 204);
    for (n, user) in users.iter().enumerate() {
        let email = if n == winner { NEW } else { &user.email };
        assert_eq!(user.me().await.body["email"], email);
    }
}

/// Asserts that one of these attempts succeeded and the others got the one answer, and returns
/// whose it was.
fn the_one_that_succeeded(answers: Vec<(Answer, usize)>, status: u16) -> usize {
    let (won, lost): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(answer, _)| answer.status == status);
    assert_eq!(won.len(), 1, "{won:#?}");
    for (answer, _) in lost {
        answer.assert_problem(400, "invalid_link");
    }
    won[0].1
}

#[tokio::test]
async fn of_twenty_concurrent_uses_of_an_invitation_on_two_nodes_one_succeeds() {
    let app = with_mail_and(|config| config.database.pool_size = CROWD).await;
    app.catch_up();
    race_invitation(&app, &app.another_node().await).await;
}
