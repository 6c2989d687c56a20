//! Limits on the mail that strangers can cause, and on the rows that they can add.

use std::time::Duration;

use serde_json::json;

use super::{NEW_PASSWORD, rows};
use crate::support::mailbox::{with_mail, with_mail_and};
use crate::support::{PASSWORD, until};

#[tokio::test]
async fn a_network_may_make_three_requests_for_any_address() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    for email in [user.email.as_str(), "nobody@example.com"] {
        for _ in 0..3 {
            app.forgot_from("198.51.100.1", email).await.assert_status(202);
        }
        app.until_mail_is_sent().await;
        let refused = app.forgot_from("198.51.100.1", email).await;
        let refused = refused.assert_problem(429, "rate_limited");
        assert!(refused.header("retry-after").is_some());
        app.forgot_from("198.51.100.2", email).await.assert_status(202);
    }
    let messages = app.messages_to(&user.email).await;
    assert_eq!(messages.len(), 4);
    assert!(app.messages_to("nobody@example.com").await.is_empty());
    // The limit does not tell whether one of them was used.
    app.reset_by_link(&messages[0].token(), NEW_PASSWORD).await.assert_status(200);
    for email in [user.email.as_str(), "nobody@example.com"] {
        app.forgot_from("198.51.100.1", email).await.assert_problem(429, "rate_limited");
    }
    app.advance(60 * 60);
    for email in [user.email.as_str(), "nobody@example.com"] {
        app.forgot_from("198.51.100.1", email).await.assert_status(202);
    }
}

#[tokio::test]
async fn retry_after_is_the_time_until_the_oldest_request_no_longer_counts() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    for email in [user.email.as_str(), "nobody@example.com"] {
        for _ in 0..3 {
            app.forgot_from("198.51.100.1", email).await.assert_status(202);
            app.until_mail_is_sent().await;
            app.advance(10 * 60);
        }
        let refused = app.forgot_from("198.51.100.1", email).await;
        let refused = refused.assert_problem(429, "rate_limited");
        assert_eq!(refused.header("retry-after"), Some("1800"));
        app.advance(30 * 60 - 1);
        app.forgot_from("198.51.100.1", email).await.assert_problem(429, "rate_limited");
        app.advance(1);
        app.forgot_from("198.51.100.1", email).await.assert_status(202);
    }
}

#[tokio::test]
async fn requests_are_counted_for_an_hour_at_most() {
    let app =
        with_mail_and(|config| config.email.link_lifetime = Duration::from_secs(24 * 60 * 60));
    let app = app.await;
    let user = app.signed_up().await;
    for email in [user.email.as_str(), "nobody@example.com"] {
        for _ in 0..3 {
            app.forgot_from("198.51.100.1", email).await.assert_status(202);
        }
        app.until_mail_is_sent().await;
        app.advance(60 * 60 - 1);
        app.forgot_from("198.51.100.1", email).await.assert_problem(429, "rate_limited");
        app.advance(1);
        app.forgot_from("198.51.100.1", email).await.assert_status(202);
    }
}

#[tokio::test]
async fn requests_whose_message_is_not_chosen_yet_are_in_the_backlog() {
    let app = with_mail().await;
    let mut networks = 0..;
    // The sender may be faster.
    until(async || {
        let from = format!("198.51.100.{}", networks.next().unwrap());
        app.forgot_from(&from, "nobody@example.com").await.assert_status(202);
        let backlog = app.api.accounts.mail().backlog().await.unwrap();
        backlog.waiting > 0 && backlog.oldest == Some(app.clock.now())
    })
    .await;
}

#[tokio::test]
async fn strangers_can_neither_flood_a_mailbox_nor_keep_its_owner_out() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    for network in 0..10 {
        for _ in 0..3 {
            let from = format!("198.51.100.{network}");
            app.forgot_from(&from, &user.email).await.assert_status(202);
        }
        app.until_mail_is_sent().await;
    }
    let messages = app.messages_to(&user.email).await;
    assert_eq!(messages.len(), 12, "unknown networks together");
    // Known devices and networks have a quota of their own.
    let known = json!({ "email": user.email, "known_device": user.tokens.refresh });
    let call = app.post("/password/forgot").header("x-forwarded-for", "203.0.113.77");
    call.json(&known).send().await.assert_status(202);
    assert_eq!(app.messages_to(&user.email).await.len(), 13);
    // Over the limit no message is sent; earlier links stay valid.
    app.forgot_from("198.51.100.77", &user.email).await.assert_status(202);
    assert_eq!(app.messages_to(&user.email).await.len(), 13);
    app.reset_by_link(&messages[5].token(), NEW_PASSWORD).await.assert_status(200);
    // A success frees the quota.
    app.forgot_from("192.0.2.55", &user.email).await.assert_status(202);
    assert_eq!(app.messages_to(&user.email).await.len(), 15, "with the notice of the new password");
}

#[tokio::test]
async fn the_token_of_another_account_is_not_a_known_device() {
    let app = with_mail().await;
    let (user, stranger) = (app.signed_up().await, app.signed_up().await);
    for network in 0..4 {
        for _ in 0..3 {
            let from = format!("198.51.100.{network}");
            app.forgot_from(&from, &user.email).await.assert_status(202);
        }
        app.until_mail_is_sent().await;
    }
    let shown = json!({ "email": user.email, "known_device": stranger.tokens.refresh });
    let call = app.post("/password/forgot").header("x-forwarded-for", "203.0.113.78");
    call.json(&shown).send().await.assert_status(202);
    assert_eq!(app.messages_to(&user.email).await.len(), 12);
}

#[tokio::test]
async fn a_full_table_deletes_requests_without_a_message_first() {
    let app = with_mail_and(|config| config.email.max_rows = 1000).await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    let link = app.message_to(&user.email).await.token();
    for n in 0..999 {
        let from = format!("10.0.{}.{}", n / 250, n % 250);
        app.forgot_from(&from, &format!("nobody{n}@example.com")).await.assert_status(202);
    }
    app.until_mail_is_sent().await;
    for n in 0..50 {
        let from = format!("10.1.0.{n}");
        app.forgot_from(&from, &format!("nobody{n}@example.org")).await.assert_status(202);
        assert!(rows(&app).await <= 1000);
    }
    app.reset_by_link(&link, NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn requests_expire_and_are_purged() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    app.forgot("nobody@example.com").await;
    app.until_mail_is_sent().await;
    assert_eq!(rows(&app).await, 2);
    let later = app.clock.now().plus(Duration::from_secs(60 * 60 - 1));
    assert!(!app.api.accounts.mail().purge(later).await.unwrap());
    assert_eq!(rows(&app).await, 2, "the limits by the hour count them");
    let later = app.clock.now().plus(Duration::from_secs(60 * 60));
    app.api.accounts.mail().purge(later).await.unwrap();
    assert_eq!(rows(&app).await, 0);
}

#[tokio::test]
async fn an_account_makes_five_requests_an_hour_for_a_change_of_its_address() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    let change = async |n: usize| {
        let body =
            json!({ "email": format!("stranger{n}@example.org"), "current_password": PASSWORD });
        let call = app.post("/me/email").header("x-forwarded-for", &format!("198.51.100.{n}"));
        call.bearer(&user.tokens.access).json(&body).send().await
    };
    for n in 0..5 {
        change(n).await.assert_status(202);
    }
    let refused = change(5).await.assert_problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), Some("3600"));
    assert_eq!(app.messages().await.len(), 5);
    // Resets are requested by nobody in particular.
    app.forgot(&user.email).await;
}

#[tokio::test]
async fn a_request_for_a_change_of_address_counts_as_a_request_for_mail() {
    let app = with_mail_and(|config| config.limits.register_burst = 3).await;
    let user = app.signed_up().await;
    for n in 0..3 {
        let email = format!("stranger{n}@example.org");
        let body = json!({ "email": email, "current_password": PASSWORD });
        let call = app.post("/me/email").bearer(&user.tokens.access);
        let answer = call.json(&body).send().await;
        if n < 2 {
            answer.assert_status(202);
        } else {
            answer.assert_problem(429, "rate_limited");
        }
    }
}
