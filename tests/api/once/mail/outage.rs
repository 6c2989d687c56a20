//! A mail server that is unreachable for a while.

use std::net::SocketAddr;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use doorward::clock::Timestamp;
use doorward::config::Config;
use doorward::database::schema::mail_requests as table;
use doorward::mail::{MailPurpose, PurposeLabel};

use super::server::{FROM, MailServer, sending_to, sending_to_with};
use crate::support::mailbox::request_of;
use crate::support::postgres::number_of;
use crate::support::program::free_port;
use crate::support::{PASSWORD, TestApp, until, until_within};

/// Registrations during the outage, unless `DOORWARD_TEST_MAIL_OUTAGE` says otherwise: 180000 are
/// an hour of 50 a second.
const REGISTRATIONS: u64 = 1_200;

/// Registrations for each row that those of the table may have.
const PER_ROW: f64 = 1.2;

/// The number of messages that the sender sends concurrently.
const CONCURRENT: usize = 8;

#[tokio::test]
async fn messages_of_an_outage_are_sent_in_order_afterwards() {
    let Some(mut server) = MailServer::prepared(None) else { return };
    let app = sending_to(&server).await;
    let mut requests = Vec::new();
    for n in 0..40 {
        app.advance(1);
        let email = format!("user{n:06}@example.com");
        requests.push((request_of(app.register(&email, PASSWORD).await), email));
    }
    server.start().await;
    until(async || server.messages().len() == 40).await;
    assert_in_order(&server);
    app.until_mail_is_sent().await;
    let (request, email) = &requests[7];
    let message = server.messages().into_iter().find(|message| message.to == *email).unwrap();
    app.confirm(request, &message.code()).await.assert_status(201);
}

#[tokio::test]
async fn an_outage_is_bounded_reported_and_made_up_for() {
    let Some(mut server) = MailServer::prepared(None) else { return };
    let registrations = number_of("DOORWARD_TEST_MAIL_OUTAGE").unwrap_or(REGISTRATIONS);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rounded number of rows"
    )]
    let max_rows = (registrations as f64 / PER_ROW) as u64 / 3 * 3;
    let app = sending_to_with(&server, |config| {
        // Registrations have three quarters.
        config.email.max_rows = max_rows / 3 * 4;
        config.limits.register_burst = u32::try_from(registrations).unwrap() + 1;
    })
    .await;
    let mut accepted = 0;
    for n in 0..registrations {
        app.clock.advance(Duration::from_millis(20));
        let answer = app.register(&format!("user{n:06}@example.com"), PASSWORD).await;
        if answer.status == 202 {
            accepted += 1;
        } else {
            let rejected = answer.assert_problem(503, "overloaded");
            assert!(rejected.header("retry-after").is_some());
        }
    }
    assert_eq!(accepted, max_rows);
    let backlog = app.api.accounts.mail().backlog().await.unwrap();
    assert_eq!(backlog.waiting, max_rows);
    let label = PurposeLabel { purpose: MailPurpose::Registration };
    assert!(app.api.accounts.mail().counters().retried.get_or_create(&label).get() > 0);
    let found = doctor(&app, &server);
    assert!(found.contains("cannot be used"), "{found}");
    age(&app, Duration::from_secs(10 * 60)).await;
    let found = doctor(&app, &server);
    let line = format!("{max_rows} messages wait, the oldest for ");
    assert!(found.contains(&line), "{found}");
    let page = metrics(&app).await;
    assert!(page.contains(&format!("\ndoorward_mail_queue_length {max_rows}\n")), "{page}");
    let wait =
        page.lines().find_map(|line| line.strip_prefix("doorward_mail_oldest_wait_seconds "));
    assert!(wait.unwrap().parse::<f64>().unwrap() >= 600.0, "{page}");

    server.start().await;
    let patience = Duration::from_secs(120 + max_rows / 5);
    until_within(patience, async || app.api.accounts.mail().backlog().await.unwrap().waiting == 0)
        .await;
    assert_eq!(server.messages().len() as u64, max_rows);
    assert_in_order(&server);
}

#[tokio::test]
async fn messages_that_make_the_server_close_the_connection_delay_no_other() {
    let Some(server) = MailServer::started().await else { return };
    let app = sending_to(&server).await;
    // As many as are sent at once.
    for n in 0..CONCURRENT {
        app.register(&format!("busy{n}@example.com"), PASSWORD).await.assert_status(202);
    }
    app.advance(1);
    app.register("ada@example.com", PASSWORD).await.assert_status(202);
    until(async || server.messages().len() == 1).await;
    assert_eq!(server.messages()[0].to, "ada@example.com");
    until(async || app.api.accounts.mail().backlog().await.unwrap().waiting == CONCURRENT as u64)
        .await;
}

#[tokio::test]
async fn a_message_that_makes_the_server_close_the_connection_delays_no_later_one() {
    let Some(server) = MailServer::started().await else { return };
    let app = sending_to(&server).await;
    app.register("busy@example.com", PASSWORD).await.assert_status(202);
    let label = PurposeLabel { purpose: MailPurpose::Registration };
    let retried = || app.api.accounts.mail().counters().retried.get_or_create(&label).get();
    until(async || retried() == 1).await;
    // Each attempt is alone in its round.
    for attempts in 2..=6 {
        app.advance(60 * 60);
        until(async || retried() == attempts).await;
    }
    app.register("ada@example.com", PASSWORD).await.assert_status(202);
    until_within(Duration::from_secs(15), async || server.messages().len() == 1).await;
    assert_eq!(server.messages()[0].to, "ada@example.com");
}

#[tokio::test]
async fn a_sent_message_whose_result_was_not_stored_is_not_sent_again() {
    let Some(server) = MailServer::started().await else { return };
    let app = sending_to(&server).await;
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE OF handed_at ON mail_requests \
                  BEGIN SELECT RAISE(ABORT, 'refused'); END";
    app.db().write(move |tx| sql_query(refuse).execute(tx.connection())).await.unwrap();
    app.register("ada@example.com", PASSWORD).await.assert_status(202);
    until(async || server.messages().len() == 1).await;
    assert_eq!(app.api.accounts.mail().backlog().await.unwrap().waiting, 1);
    app.db().write(|tx| sql_query("DROP TRIGGER refuse").execute(tx.connection())).await.unwrap();
    // The clock stands still: the lease does not end.
    app.until_mail_is_sent().await;
    app.advance(10 * 60);
    app.register("bea@example.com", PASSWORD).await.assert_status(202);
    until(async || server.messages().len() == 2).await;
    assert_eq!(server.messages().iter().filter(|it| it.to == "ada@example.com").count(), 1);
}

#[tokio::test]
async fn attempts_during_an_outage_do_not_lengthen_later_waits() {
    let Some(mut server) = MailServer::prepared(None) else { return };
    let app = sending_to(&server).await;
    app.register("transient@example.com", PASSWORD).await.assert_status(202);
    let label = PurposeLabel { purpose: MailPurpose::Registration };
    let retried = || app.api.accounts.mail().counters().retried.get_or_create(&label).get();
    until(async || retried() >= 3).await;
    server.start().await;
    let next = async || {
        let next = app
            .db()
            .read(|c| table::table.select(table::next_send_at).get_result::<Option<Timestamp>>(c));
        next.await.unwrap().unwrap().as_micros() - app.clock.now().as_micros()
    };
    until(async || next().await > 0).await;
    assert_eq!(next().await, 5_000_000);
}

/// Messages arrive in the order of their requests, as far as concurrent sending allows.
fn assert_in_order(server: &MailServer) {
    for (n, message) in server.messages().iter().enumerate() {
        let place: usize = message.to[4..10].parse().unwrap();
        assert!(place.abs_diff(n) < CONCURRENT, "{n}: {message:?}");
    }
}

/// The metrics of a node that is started now: it counts at its start, and then once a minute.
async fn metrics(app: &TestApp) -> String {
    let page = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let change = |config: &mut Config| {
        (config.metrics.enabled, config.metrics.listen) = (true, page);
    };
    let node = app.another_node_with(change).await;
    let mut text = String::new();
    until(async || {
        let answer = node.http.get(format!("http://{page}/metrics")).send().await.unwrap();
        text = answer.text().await.unwrap();
        text.contains("doorward_mail_queue_length")
    })
    .await;
    text
}

/// The findings of `doorward doctor`.
fn doctor(app: &TestApp, server: &MailServer) -> String {
    let mut command = app.command(&["doctor", "--json"]);
    command.env("DOORWARD_EMAIL__URL", server.url().expose());
    command.env("DOORWARD_EMAIL__FROM", FROM);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// Makes the waiting messages older.
async fn age(app: &TestApp, by: Duration) {
    let micros = i64::try_from(by.as_micros()).unwrap() + 3_600_000_000;
    let aged = app.db().write(move |tx| {
        let waiting = table::table.filter(table::next_send_at.is_not_null());
        diesel::update(waiting)
            .set(table::created_at.eq(table::created_at - micros))
            .execute(tx.connection())
    });
    aged.await.unwrap();
}
