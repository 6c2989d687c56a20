//! Messages through a mail server, with and without STARTTLS and a login.

use std::path::Path;

use doorward::mail::{MailPurpose, PurposeLabel};

use super::server::{FROM, MailServer, sending_to};
use crate::once::interop::certificate;
use crate::support::mailbox::{Message, request_of};
use crate::support::{PASSWORD, TestApp, until};

/// The outcome of the only request for an address.
async fn outcome(app: &TestApp, address: &str) -> Option<String> {
    use diesel::prelude::*;
    use doorward::database::schema::mail_requests as table;
    let address = address.to_owned();
    let found = app.db().read(move |c| {
        table::table.filter(table::address.eq(&address)).select(table::outcome).get_result(c)
    });
    found.await.unwrap()
}

#[tokio::test]
async fn the_mail_server_gets_each_message_once() {
    let Some(server) = MailServer::started().await else { return };
    let app = sending_to(&server).await;
    let mut requests = Vec::new();
    for n in 0..20 {
        let email = format!("user{n}@example.com");
        requests.push((request_of(app.register(&email, PASSWORD).await), email));
    }
    app.until_mail_is_sent().await;
    let messages = server.messages();
    assert_eq!(messages.len(), 20);
    for (request, email) in requests {
        let message = messages.iter().find(|message| message.to == email).unwrap();
        assert!(message.text.contains(&format!("X-Rcpt: {email}\r\n")), "{message:?}");
        assert!(message.text.contains(&format!("From: {FROM}\r\n")), "{message:?}");
        assert_eq!(message.subject, "Your code for Example");
        assert!(message.text.contains("multipart/alternative"), "{message:?}");
        app.confirm(&request, &message.code()).await.assert_status(201);
    }
}

#[tokio::test]
async fn starttls_and_login_are_required() {
    let certificates = tempfile::tempdir().unwrap();
    let authority = certificate(certificates.path());
    let secure = Some((certificates.path(), "pass+word/1"));
    let Some(mut server) = MailServer::prepared(secure) else { return };
    server.start().await;
    let home = crate::support::binary::home();
    let run = |url: &str, authority: Option<&Path>| {
        let mut command = crate::support::binary::doorward(home.path());
        command.env("DOORWARD_EMAIL__URL", url).env("DOORWARD_EMAIL__FROM", FROM);
        if let Some(authority) = authority {
            command.env("SSL_CERT_FILE", authority);
        }
        let migrated =
            crate::support::binary::doorward(home.path()).args(["db", "migrate"]).output();
        assert!(migrated.unwrap().status.success());
        command.args(["mail", "test", "grace@example.com"]).output().unwrap()
    };
    let host = format!("localhost:{}?tls=required", server.port);
    let good = format!("smtp://ada%40example.com:pass%2Bword%2F1@{host}");
    let output = run(&good, Some(&authority));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let messages = server.messages();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].text.contains("X-Tls: True\r\nX-User: ada@example.com"), "{messages:?}");

    // An authority that nobody trusts, a wrong password, no encryption.
    let wrong = format!("smtp://ada%40example.com:hunter2@{host}");
    let plain = format!("smtp://localhost:{}", server.port);
    for (url, authority) in [(&good, None), (&wrong, Some(&*authority)), (&plain, None)] {
        let output = run(url, authority);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{url}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("pass+word"), "{said}");
        assert!(said.contains("email.url"), "{said}");
    }
    assert_eq!(server.messages().len(), 1);
}

#[tokio::test]
async fn transient_rejections_are_retried_and_permanent_ones_are_not() {
    let Some(server) = MailServer::started().await else { return };
    let app = sending_to(&server).await;
    let greylisted = request_of(app.register("transient@example.com", PASSWORD).await);
    app.register("permanent@example.com", PASSWORD).await.assert_status(202);
    app.register("gr\u{fc}n@example.com", PASSWORD).await.assert_status(202);
    let failed = Some(String::from("failed"));
    for address in ["permanent@example.com", "gr\u{fc}n@example.com"] {
        until(async || outcome(&app, address).await == failed).await;
    }
    assert!(server.messages().is_empty());
    for wait in [20, 80] {
        app.advance(wait);
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    }
    until(async || server.messages().len() == 1).await;
    app.until_mail_is_sent().await;
    let code = server.messages()[0].code();
    app.confirm(&greylisted, &code).await.assert_status(201);
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_sent_again_with_the_same_id() {
    let Some(server) = MailServer::started().await else { return };
    let app = sending_to(&server).await;
    let request = request_of(app.register("dropped@example.com", PASSWORD).await);
    let label = PurposeLabel { purpose: MailPurpose::Registration };
    let retried = app.api.accounts.mail().counters().retried.get_or_create(&label).clone();
    until(async || retried.get() == 1).await;
    app.advance(5);
    until(async || server.messages().len() == 2).await;
    app.until_mail_is_sent().await;
    let messages = server.messages();
    let id = |message: &Message| {
        let line = message.text.lines().find(|line| line.starts_with("Message-ID:"));
        line.expect("an id").to_owned()
    };
    assert_eq!(id(&messages[0]), id(&messages[1]));
    assert_eq!(messages[0].code(), messages[1].code());
    app.confirm(&request, &messages[0].code()).await.assert_status(201);
}
