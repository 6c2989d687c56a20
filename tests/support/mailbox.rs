//! The messages of a service, in its outbox folder.

use std::fs;

use diesel::prelude::*;
use doorward::config::Config;
use doorward::database::schema::mail_requests;
use doorward::secret::Secret;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::app::behind_a_proxy;
use super::binary::printed;
use super::{Answer, TestApp};

/// A message as its recipient sees it.
#[derive(Clone, Debug)]
pub struct Message {
    pub to: String,
    pub subject: String,
    /// Everything, decoded.
    pub text: String,
}

impl Message {
    /// Parses a message as lettre writes it.
    pub fn parse(raw: &str) -> Self {
        let text = decoded(raw);
        let head = text.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        Self { to: header("To:"), subject: header("Subject:"), text }
    }

    /// Its code.
    #[track_caller]
    pub fn code(&self) -> String {
        let is_code = |word: &str| {
            word.len() == 9
                && word.char_indices().all(|(i, c)| {
                    if i == 4 { c == '-' } else { c.is_ascii_uppercase() || c.is_ascii_digit() }
                })
        };
        let body = self.text.split_once("\r\n\r\n").unwrap().1;
        let found = body.split_whitespace().find(|word| is_code(word));
        found.unwrap_or_else(|| panic!("no code: {}", self.text)).to_owned()
    }

    /// The token of its link.
    #[track_caller]
    pub fn token(&self) -> String {
        let from = self.text.find("dwm_").unwrap_or_else(|| panic!("no link: {}", self.text));
        self.text[from..from + 48].to_owned()
    }
}

/// Decodes quoted-printable (RFC 2045 6.7), as far as these messages need it.
fn decoded(raw: &str) -> String {
    let raw = raw.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = raw.as_bytes();
    while let Some((&first, further)) = rest.split_first() {
        let hex = (first == b'=').then(|| further.get(..2)).flatten();
        let hex = hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(hex.unwrap_or(first));
        rest = if hex.is_some() { &further[2..] } else { further };
    }
    String::from_utf8(bytes).unwrap()
}

/// A service that writes messages to files and is behind a proxy.
pub async fn with_mail() -> TestApp {
    with_mail_and(|_| {}).await
}

/// The same with other settings.
pub async fn with_mail_and(change: impl FnOnce(&mut Config)) -> TestApp {
    TestApp::with(|config| {
        config.email.url = Some(Secret::new(String::from("file:")));
        behind_a_proxy(config);
        change(config);
    })
    .await
}

impl TestApp {
    /// The messages in the outbox, the oldest first, once none waits.
    pub async fn messages(&self) -> Vec<Message> {
        self.until_mail_is_sent().await;
        let Ok(folder) = fs::read_dir(self.config.data_dir.join("outbox")) else {
            return Vec::new();
        };
        let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let files = files.iter().filter(|path| path.extension().is_some_and(|it| it == "eml"));
        files.map(|path| Message::parse(&fs::read_to_string(path).unwrap())).collect()
    }

    /// The only message to this address.
    pub async fn message_to(&self, address: &str) -> Message {
        let messages = self.messages_to(address).await;
        let [message] = messages.as_slice() else { panic!("{address}: {messages:#?}") };
        message.clone()
    }

    /// The messages to this address, the oldest first.
    pub async fn messages_to(&self, address: &str) -> Vec<Message> {
        self.messages().await.into_iter().filter(|message| message.to == address).collect()
    }

    /// Waits until every request has an outcome.
    pub async fn until_mail_is_sent(&self) {
        super::until(async || {
            let waiting = self.db().read(|c| {
                mail_requests::table
                    .filter(mail_requests::outcome.is_null())
                    .count()
                    .get_result::<i64>(c)
            });
            waiting.await.unwrap() == 0
        })
        .await;
    }

    /// Deletes the messages.
    pub async fn clear_outbox(&self) {
        self.until_mail_is_sent().await;
        let _ = fs::remove_dir_all(self.config.data_dir.join("outbox"));
    }

    /// Requests a reset and returns the request's token.
    pub async fn forgot(&self, email: &str) -> String {
        let answer = self.forgot_from("192.0.2.1", email).await.assert_status(202);
        answer.body["request"].as_str().unwrap().to_owned()
    }

    pub async fn forgot_from(&self, network: &str, email: &str) -> Answer {
        let body = json!({ "email": email });
        self.post("/password/forgot").header("x-forwarded-for", network).json(&body).send().await
    }

    pub async fn reset_by_link(&self, token: &str, password: &str) -> Answer {
        let body = json!({ "token": token, "password": password });
        self.post("/password/reset").json(&body).send().await
    }

    pub async fn reset_by_code(&self, request: &str, code: &str, password: &str) -> Answer {
        let body = json!({ "request": request, "code": code, "password": password });
        self.post("/password/reset").json(&body).send().await
    }

    /// A registration that must prove its address.
    pub async fn register_from(&self, network: &str, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        self.post("/register").header("x-forwarded-for", network).json(&body).send().await
    }

    pub async fn confirm(&self, request: &str, code: &str) -> Answer {
        let body = json!({ "request": request, "code": code });
        self.post("/register/confirm").json(&body).send().await
    }
}

/// The request's token in an answer.
#[track_caller]
pub fn request_of(answer: Answer) -> String {
    answer.assert_status(202).body["request"].as_str().unwrap().to_owned()
}

/// Invites an address by the command, and returns the command's JSON.
pub fn invite(app: &TestApp, email: &str, arguments: &[&str]) -> Value {
    let mut command = app.command(&["user", "invite", email, "--json"]);
    command.args(arguments).env("DOORWARD_EMAIL__URL", "file:");
    let invited = serde_json::from_str(&printed(&mut command)).unwrap();
    // The command's clock is not the service's.
    app.catch_up();
    invited
}

/// Accepts an invitation by two links twenty times at once, on two nodes: one use succeeds.
pub async fn race_invitation(app: &TestApp, other: &TestApp) {
    let email = "ada@example.com";
    invite(app, email, &[]);
    app.forgot(email).await;
    let messages = app.messages_to(email).await;
    race_links(app, other, email, [messages[0].token(), messages[1].token()]).await;
}

/// Uses two links of one account twenty times at once, on two nodes: one use succeeds.
pub async fn race_resets(app: &TestApp, other: &TestApp) {
    let user = app.signed_up().await;
    for _ in 0..2 {
        app.forgot(&user.email).await;
    }
    let messages = app.messages_to(&user.email).await;
    race_links(app, other, &user.email, [messages[0].token(), messages[1].token()]).await;
}

async fn race_links(app: &TestApp, other: &TestApp, email: &str, tokens: [String; 2]) {
    let attempts = (0..20).map(|n| {
        let (node, token) = (if n % 4 < 2 { app } else { other }, &tokens[n % 2]);
        let password = format!("number {n} of twenty herons");
        async move { (node.reset_by_link(token, &password).await, password) }
    });
    let answers = join_all(attempts).await;
    let (won, lost): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(answer, _)| answer.status == 200);
    assert_eq!(won.len(), 1, "{won:#?}");
    for (answer, _) in lost {
        answer.assert_problem(400, "invalid_link");
    }
    app.log_in(email, &won[0].1).await.assert_status(200);
}
