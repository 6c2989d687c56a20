//! Known and unknown addresses: the same answers and the same statements.

use doorward::accounts::mail_proof::{MailSource, ShownProof};
use doorward::accounts::reset_password::Reset;
use doorward::app::App;
use doorward::config::Verification;
use doorward::sessions::Device;
use serde_json::Value;

use super::NEW_PASSWORD;
use crate::support::mailbox::{request_of, with_mail_and};
use crate::support::statements::WriterStatements;
use crate::support::{Answer, PASSWORD, TestApp};

/// The address of an account.
const KNOWN: &str = "ada@example.com";

/// An answer without the parts that belong to its request alone.
type Seen = (u16, Vec<(String, String)>, Value);

fn without_own_parts(answer: &Answer) -> Seen {
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
    (answer.status, headers, body)
}

/// The answers to four requests: the fourth is over the limit if they come from one network.
async fn seen(app: &TestApp, ask: impl AsyncFn(usize) -> Answer) -> Vec<Seen> {
    let mut all = Vec::new();
    for n in 0..4 {
        app.until_mail_is_sent().await;
        all.push(without_own_parts(&ask(n).await));
    }
    all
}

#[tokio::test]
async fn known_and_unknown_addresses_get_the_same_answers() {
    let app = with_mail_and(|config| config.accounts.verification = Verification::Required).await;
    let request = request_of(app.register(KNOWN, PASSWORD).await);
    let code = app.message_to(KNOWN).await.code();
    app.confirm(&request, &code).await.assert_status(201);

    for networks in [4, 1] {
        let forgot = async |email: &str| {
            let network = |n| format!("198.51.{networks}.{}", n % networks);
            seen(&app, async |n| app.forgot_from(&network(n), email).await).await
        };
        assert_eq!(forgot(KNOWN).await, forgot("nobody@example.com").await);
        let register = async |email: &str| {
            let network = |n| format!("203.0.{networks}.{}", n % networks);
            seen(&app, async |n| app.register_from(&network(n), email, NEW_PASSWORD).await).await
        };
        assert_eq!(register(KNOWN).await, register("nobody@example.com").await);
    }

    // Wrong codes: the first four, the fifth, and the one behind it.
    let mut answers = Vec::new();
    for email in [KNOWN, "nobody@example.com"] {
        let request = request_of(app.forgot_from("192.0.2.200", email).await);
        app.until_mail_is_sent().await;
        let mut of_email = Vec::new();
        for _ in 0..6 {
            let wrong = app.reset_by_code(&request, "0000-0000", NEW_PASSWORD).await;
            of_email.push(without_own_parts(&wrong));
        }
        answers.push(of_email);
    }
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn requests_for_known_and_unknown_addresses_run_the_same_statements_and_hashes() {
    actix_web::rt::System::new().block_on(async {
        let app =
            with_mail_and(|config| config.accounts.verification = Verification::Required).await;
        let request = request_of(app.register(KNOWN, PASSWORD).await);
        let code = app.message_to(KNOWN).await.code();
        app.confirm(&request, &code).await.assert_status(201);
        // A service whose tasks do not run: the sender's statements would be counted, too.
        let idle = App::build(&app.config, &app.clock).await.unwrap();
        let (accounts, db) = (idle.api().accounts.clone(), idle.api().db.clone());
        let written = WriterStatements::count(&db).await;
        let counted = || {
            let (reads, hashes) = (db.load().statements, accounts.hasher().hashed());
            (reads, written.so_far(), hashes)
        };
        let source =
            |network| MailSource { network, known_device: None, locale: Some("en".to_owned()) };
        let mut costs = Vec::new();
        for email in [KNOWN, "nobody@example.com"] {
            let mut marks = vec![counted()];
            let forgot = accounts.forgot_password(email, source("198.51.100.1")).await.unwrap();
            marks.push(counted());
            let new = accounts.request_registration(email, NEW_PASSWORD, source("198.51.100.1"));
            new.await.unwrap();
            marks.push(counted());
            app.until_mail_is_sent().await;
            for _ in 0..6 {
                let shown = ShownProof::Code { request: &forgot, code: "0000-0000" };
                let (login, device) = (None, Device::default());
                let reset = Reset { shown, password: NEW_PASSWORD, login, device };
                assert!(accounts.reset_password(reset).await.is_err());
                marks.push(counted());
            }
            let cost = marks.windows(2).map(|pair| {
                let (before, after) = (pair[0], pair[1]);
                (after.0 - before.0, after.1 - before.1, after.2 - before.2)
            });
            costs.push(cost.collect::<Vec<_>>());
        }
        assert_eq!(costs[0], costs[1]);
        assert_eq!((costs[0][0].2, costs[0][1].2), (0, 1), "only a registration hashes");
        assert!(costs[0].iter().all(|cost| cost.0 + cost.1 > 0), "{costs:?}");
    });
}
