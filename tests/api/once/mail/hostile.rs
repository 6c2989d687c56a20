//! Mail servers that misbehave.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use doorward::config::Verification;
use doorward::mail::{MailPurpose, PurposeLabel};
use doorward::secret::Secret;

use super::server::FROM;
use crate::support::mailbox::with_mail_and;
use crate::support::{PASSWORD, TestApp, until};

/// Starts a server that handles each connection by this function, and returns its port.
fn serve(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let handle = Arc::clone(&handle);
            thread::spawn(move || handle(stream.unwrap()));
        }
    });
    port
}

/// Speaks SMTP. The function answers each command, and the end of each message (`.`); without an
/// answer, the connection is closed.
fn speak(stream: &TcpStream, greeting: &str, answer: impl Fn(&str) -> Option<&'static str>) {
    let mut writer = stream;
    let mut is_open = write!(writer, "{greeting}\r\n").is_ok();
    let mut lines = BufReader::new(stream).lines();
    let mut is_in_message = false;
    while is_open {
        let Some(Ok(line)) = lines.next() else { return };
        if is_in_message && line != "." {
            continue;
        }
        is_in_message = line == "DATA";
        is_open = answer(&line).is_some_and(|answer| write!(writer, "{answer}\r\n").is_ok());
    }
}

/// The answers of a server that accepts everything.
fn accepting(line: &str) -> &'static str {
    match line.split(' ').next() {
        Some("EHLO") => "250-example\r\n250 SMTPUTF8",
        Some("DATA") => "354 go on",
        Some("QUIT") => "221 bye",
        _ => "250 ok",
    }
}

/// A service that sends its messages there, and whose registrations must prove addresses.
async fn sending_to(port: u16) -> TestApp {
    with_url(&format!("smtp://127.0.0.1:{port}")).await
}

async fn with_url(url: &str) -> TestApp {
    with_mail_and(|config| {
        config.accounts.verification = Verification::Required;
        config.email.url = Some(Secret::new(url.to_owned()));
        config.email.from = String::from(FROM);
    })
    .await
}

/// The number of failed attempts at registrations after which a message waits.
fn retried(app: &TestApp) -> u64 {
    let label = PurposeLabel { purpose: MailPurpose::Registration };
    app.api.accounts.mail().counters().retried.get_or_create(&label).get()
}

#[tokio::test]
async fn a_server_that_closes_after_each_message_gets_copies_less_and_less_often() {
    let copies = Arc::new(AtomicUsize::new(0));
    let received = Arc::clone(&copies);
    let port = serve(move |stream| {
        speak(&stream, "220 ready", |line| {
            if line == "." {
                received.fetch_add(1, SeqCst);
                return None;
            }
            Some(accepting(line))
        });
    });
    let app = sending_to(port).await;
    app.register("ada@example.com", PASSWORD).await.assert_status(202);
    // After 5, 20, 80 and 320 seconds.
    let mut attempts = 1;
    for wait in [5_u64, 20, 80, 320] {
        until(async || retried(&app) == attempts).await;
        app.advance(wait - 1);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(retried(&app), attempts, "before {wait} seconds");
        app.advance(1);
        attempts += 1;
    }
    until(async || retried(&app) == attempts).await;
    assert_eq!(copies.load(SeqCst) as u64, attempts);
    let listed = app.api.accounts.mail().waiting(1).await.unwrap();
    assert_eq!(listed[0].send_attempts.unsigned_abs(), attempts, "each attempt counts");
}
