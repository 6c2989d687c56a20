//! `kill -9` between a response and its message.

use std::path::Path;
use std::time::Duration;

use diesel::prelude::*;
use doorward::database::schema::mail_requests as table;
use doorward::secret::random_bytes;
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;

use super::program::{connect, messages, waiting, with_verification};
use crate::support::binary::{Doorward, home};
use crate::support::client::PASSWORD;
use crate::support::mailbox::request_of;
use crate::support::postgres::number_of;
use crate::support::until;

/// Kills, unless `DOORWARD_TEST_KILLS` says otherwise.
const KILLS: u64 = 8;

/// Registrations in progress when the service is killed.
const CONCURRENT: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_every_answered_registration_gets_a_valid_message() {
    let home = home();
    let mut asked = Vec::new();
    for round in 0..number_of("DOORWARD_TEST_KILLS").unwrap_or(KILLS) {
        let service = Doorward::start(&mut with_verification(home.path()));
        let registrations = (0..CONCURRENT).map(|n| {
            let (email, service) = (format!("user{round}.{n}@example.com"), &service);
            async move {
                let body = json!({ "email": email, "password": PASSWORD });
                let answer = service.post("/register", &body).await.unwrap();
                (email, request_of(answer))
            }
        });
        asked.extend(join_all(registrations).await);
        let [random] = random_bytes::<1>();
        tokio::time::sleep(Duration::from_millis(u64::from(random) * 5)).await;
        drop(service);
        end_leases(home.path());
    }
    let service = Doorward::start(&mut with_verification(home.path()));
    until(async || waiting(home.path()) == 0).await;
    let messages = messages(home.path());
    assert_eq!(messages.len(), asked.len());
    // The codes of the first rounds may be older than ten minutes on a very slow machine.
    for (email, request) in &asked {
        let message = messages.iter().find(|message| message.to == *email).expect(email);
        let body = json!({ "request": request, "code": message.code() });
        service.post("/register/confirm", &body).await.unwrap().assert_status(201);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_that_was_answered_before_a_kill_gets_a_valid_message() {
    let home = home();
    let mut answered = Vec::new();
    for round in 0..number_of("DOORWARD_TEST_KILLS").unwrap_or(KILLS) {
        let service = Doorward::start(&mut with_verification(home.path()));
        let registrations = (0..CONCURRENT).map(|n| {
            let (email, service) = (format!("user{round}.{n}@example.com"), &service);
            async move {
                let body = json!({ "email": email, "password": PASSWORD });
                // Some get no answer.
                let answer = service.post("/register", &body).await.ok()?;
                Some((email, request_of(answer)))
            }
        });
        let [random] = random_bytes::<1>();
        let kill = async {
            tokio::time::sleep(Duration::from_millis(u64::from(random) / 2)).await;
            service.signal(Signal::KILL);
        };
        let (answers, ()) = tokio::join!(join_all(registrations), kill);
        answered.extend(answers.into_iter().flatten());
        drop(service);
        end_leases(home.path());
    }
    let service = Doorward::start(&mut with_verification(home.path()));
    until(async || waiting(home.path()) == 0).await;
    let messages = messages(home.path());
    for (email, request) in &answered {
        let message = messages.iter().find(|message| message.to == *email).expect(email);
        let body = json!({ "request": request, "code": message.code() });
        service.post("/register/confirm", &body).await.unwrap().assert_status(201);
    }
}

/// Ends the leases of killed senders, as five minutes would.
fn end_leases(home: &Path) {
    let passed = table::leased_until.eq(table::leased_until - 5 * 60 * 1_000_000_i64);
    let waiting = table::table.filter(table::next_send_at.is_not_null());
    diesel::update(waiting).set(passed).execute(&mut connect(home)).unwrap();
}
