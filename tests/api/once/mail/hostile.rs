//! Mail servers that misbehave.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use doorward::config::Verification;
use doorward::mail::{MailPurpose, PurposeLabel};
use doorward::secret::Secret;

use super::server::FROM;
use crate::support::mailbox::{invite, with_mail_and};
use crate::support::{PASSWORD, TestApp, until};

/// How many bytes the operating system may buffer on a loopback connection.
const SOCKET_BUFFERS: usize = 32 << 20;

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

async fn waiting(app: &TestApp) -> u64 {
    app.api.accounts.mail().backlog().await.unwrap().waiting
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

#[tokio::test]
async fn a_server_that_rejects_connections_fails_no_message() {
    for (greeting, hello) in [("554 no service here", None), ("220 ready", Some("550 go away"))] {
        let is_mended = Arc::new(AtomicBool::new(false));
        let mended = Arc::clone(&is_mended);
        let port = serve(move |stream| {
            let is_mended = mended.load(SeqCst);
            speak(&stream, if is_mended { "220 ready" } else { greeting }, |line| {
                let is_hello = line.starts_with("EHLO");
                Some(hello.filter(|_| is_hello && !is_mended).unwrap_or_else(|| accepting(line)))
            });
        });
        let app = sending_to(port).await;
        app.register("ada@example.com", PASSWORD).await.assert_status(202);
        until(async || retried(&app) > 0).await;
        assert_eq!(waiting(&app).await, 1, "{greeting}");
        is_mended.store(true, SeqCst);
        until(async || waiting(&app).await == 0).await;
        let label = PurposeLabel { purpose: MailPurpose::Registration };
        let counters = app.api.accounts.mail().counters();
        assert_eq!(counters.sent.get_or_create(&label).get(), 1, "{greeting}");
    }
}

#[tokio::test]
async fn a_server_that_sends_an_endless_line_is_disconnected() {
    let sent = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let (counted, ended) = (Arc::clone(&sent), Arc::clone(&is_over));
    let port = serve(move |mut stream| {
        let block = vec![b'A'; 1 << 16];
        while counted.load(SeqCst) < 2 * SOCKET_BUFFERS && stream.write_all(&block).is_ok() {
            counted.fetch_add(block.len(), SeqCst);
        }
        ended.store(true, SeqCst);
        thread::sleep(Duration::from_secs(60));
    });
    let app = with_url(&format!("smtp://localhost:{port}?tls=required")).await;
    app.register("ada@example.com", PASSWORD).await.assert_status(202);
    until(async || is_over.load(SeqCst)).await;
    assert!(sent.load(SeqCst) < SOCKET_BUFFERS, "{} bytes", sent.load(SeqCst));
    until(async || retried(&app) > 0).await;
    assert_eq!(waiting(&app).await, 1);
}

#[tokio::test]
async fn replies_that_were_sent_before_tls_are_not_read_after_it() {
    let after = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&after);
    let port = serve(move |mut stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        stream.write_all(b"220 ready\r\n").unwrap();
        lines.read_line(&mut line).unwrap();
        stream.write_all(b"250-example\r\n250 STARTTLS\r\n").unwrap();
        lines.read_line(&mut line).unwrap();
        // RFC 3207 5: in one packet with the reply.
        stream.write_all(b"220 go\r\n250 SMTPUTF8\r\n250 ok\r\n250 ok\r\n").unwrap();
        let mut rest = [0; 100];
        let read = lines.read(&mut rest).unwrap_or(0);
        received.lock().unwrap().push(rest[..read].to_vec());
    });
    let app = with_url(&format!("smtp://localhost:{port}?tls=required")).await;
    app.register("ada@example.com", PASSWORD).await.assert_status(202);
    until(async || !after.lock().unwrap().is_empty()).await;
    assert_eq!(after.lock().unwrap()[0], b"", "a handshake has begun");
}

#[tokio::test]
async fn slow_recipients_of_one_domain_do_not_delay_other_messages() {
    let (held, released) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (holding, is_released) = (Arc::clone(&held), Arc::clone(&released));
    let recipients = Arc::new(Mutex::new(Vec::new()));
    let accepted = Arc::clone(&recipients);
    let port = serve(move |stream| {
        speak(&stream, "220 ready", |line| {
            if line.starts_with("RCPT") {
                if line.contains("slow.example") {
                    holding.fetch_add(1, SeqCst);
                    while !is_released.load(SeqCst) {
                        thread::sleep(Duration::from_millis(10));
                    }
                }
                accepted.lock().unwrap().push(line.to_owned());
            }
            Some(accepting(line))
        });
    });
    let app = sending_to(port).await;
    for n in 0..24 {
        app.register(&format!("user{n}@slow.example"), PASSWORD).await.assert_status(202);
    }
    until(async || held.load(SeqCst) > 0).await;
    for n in 0..12 {
        app.register(&format!("user{n}@example.com"), PASSWORD).await.assert_status(202);
    }
    until(async || recipients.lock().unwrap().len() == 12).await;
    assert_eq!(held.load(SeqCst), 4, "half of the concurrent messages");
    until(async || waiting(&app).await == 24).await;
    released.store(true, SeqCst);
    until(async || waiting(&app).await == 0).await;
}

#[tokio::test]
async fn other_messages_are_sent_before_registrations() {
    let is_up = Arc::new(AtomicBool::new(false));
    let recipients = Arc::new(Mutex::new(Vec::new()));
    let (is_reachable, accepted) = (Arc::clone(&is_up), Arc::clone(&recipients));
    let port = serve(move |stream| {
        let greeting = if is_reachable.load(SeqCst) { "220 ready" } else { "421 busy" };
        speak(&stream, greeting, |line| {
            if line.starts_with("RCPT") {
                accepted.lock().unwrap().push(line.to_owned());
            }
            Some(accepting(line))
        });
    });
    let app = sending_to(port).await;
    app.catch_up();
    for n in 0..30 {
        let email = format!("user@example{n}.com");
        app.register(&email, PASSWORD).await.assert_status(202);
    }
    until(async || retried(&app) >= 8).await;
    invite(&app, "ada@example.com", &[]);
    let label = PurposeLabel { purpose: MailPurpose::Invitation };
    let counters = app.api.accounts.mail().counters();
    until(async || counters.retried.get_or_create(&label).get() > 0).await;
    assert_eq!(waiting(&app).await, 31);
    is_up.store(true, SeqCst);
    until(async || waiting(&app).await == 0).await;
    let recipients = recipients.lock().unwrap();
    let place = recipients.iter().position(|line| line.contains("ada@example.com")).unwrap();
    assert!(place < 16, "{place}: {recipients:?}");
}
