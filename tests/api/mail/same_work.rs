//! Known and unknown addresses: the same answers and the same statements.

use doorward::accounts::mail_proof::MailSource;
use doorward::app::App;
use doorward::config::Verification;
use serde_json::Value;

use super::NEW_PASSWORD;
use crate::support::mailbox::{request_of, with_mail_and};
use crate::support::{Answer, PASSWORD, TestApp};

/// The address of an account.
const KNOWN: &str = "ada@example.com";

/// An answer without the parts that belong to its request alone, and the statements that it took.
type Seen = (u16, Vec<(String, String)>, Value, u64);

async fn seen(app: &TestApp, ask: impl AsyncFn(usize) -> Answer) -> Seen {
    let mut lowest: Option<Seen> = None;
    for n in 0..4 {
        app.until_mail_is_sent().await;
        let before = app.db().load().statements;
        let answer = ask(n).await;
        let statements = app.db().load().statements - before;
        let mut headers: Vec<(String, String)> = answer
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .filter(|(name, _)| name != "date" && name != "x-request-id")
            .collect();
        headers.sort();
        let mut body = answer.body.clone();
        for own in ["request_id", "request"] {
            body.as_object_mut().unwrap().remove(own);
        }
        // Other work of the service only adds to a count.
        let least = lowest.as_ref().map_or(statements, |before| before.3.min(statements));
        lowest = Some((answer.status, headers, body, least));
    }
    lowest.unwrap()
}

#[tokio::test]
async fn known_and_unknown_addresses_get_the_same_answers_for_the_same_work() {
    let app = with_mail_and(|config| config.accounts.verification = Verification::Required).await;
    let request = request_of(app.register(KNOWN, PASSWORD).await);
    let code = app.message_to(KNOWN).await.code();
    app.confirm(&request, &code).await.assert_status(201);

    // Both insert a row without looking for an account. The sender's statements may be counted with
    // theirs.
    let answer = |(status, headers, body, _): Seen| (status, headers, body);
    let forgot = async |email: &str| {
        let ask = async |n| app.forgot_from(&format!("198.51.100.{n}"), email).await;
        answer(seen(&app, ask).await)
    };
    assert_eq!(forgot(KNOWN).await, forgot("nobody@example.com").await);
    let register = async |email: &str| {
        let ask = async |n| app.register_from(&format!("203.0.113.{n}"), email, NEW_PASSWORD).await;
        answer(seen(&app, ask).await)
    };
    assert_eq!(register(KNOWN).await, register("nobody@example.com").await);

    // Wrong codes: the first four, the fifth, and those behind it.
    let mut answers = Vec::new();
    for email in [KNOWN, "nobody@example.com"] {
        let request = app.forgot_from("192.0.2.200", email).await;
        let request = request_of(request);
        let mut of_email = Vec::new();
        for _ in 0..2 {
            let wrong = async |_| app.reset_by_code(&request, "0000-0000", NEW_PASSWORD).await;
            of_email.push(seen(&app, wrong).await);
        }
        answers.push(of_email);
    }
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn requests_for_known_and_unknown_addresses_run_the_same_statements() {
    actix_web::rt::System::new().block_on(async {
        let app =
            with_mail_and(|config| config.accounts.verification = Verification::Required).await;
        let request = request_of(app.register(KNOWN, PASSWORD).await);
        let code = app.message_to(KNOWN).await.code();
        app.confirm(&request, &code).await.assert_status(201);
        // A service whose tasks do not run: the sender's statements would be counted, too.
        let idle = App::build(&app.config, &app.clock).await.unwrap();
        let (accounts, db) = (idle.api().accounts.clone(), idle.api().db.clone());
        let source =
            |network| MailSource { network, known_device: None, locale: Some("en".to_owned()) };
        let mut counts = Vec::new();
        for email in [KNOWN, "nobody@example.com"] {
            let before = db.load().statements;
            accounts.forgot_password(email, source("198.51.100.1")).await.unwrap();
            let forgot = db.load().statements;
            let new = accounts.request_registration(email, NEW_PASSWORD, source("198.51.100.1"));
            new.await.unwrap();
            counts.push([forgot - before, db.load().statements - forgot]);
        }
        assert_eq!(counts[0], counts[1]);
    });
}
