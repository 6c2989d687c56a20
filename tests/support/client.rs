//! A small fluent client. Every response is checked against `openapi.yaml` before a test sees it.

use std::sync::atomic::{AtomicUsize, Ordering};

use doorward::clients::{ClientKind, ClientSettings};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::TestApp;
use super::contract;

/// A password that satisfies the policy.
pub const PASSWORD: &str = "seven otters juggle lanterns";

/// A response that conforms to the contract.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn assert_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn assert_problem(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status, self.body["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text
        );
        self
    }

    /// An error in the plain form of RFC 6749 5.2.
    #[track_caller]
    pub fn assert_oauth(self, status: u16, error: &str) -> Self {
        assert_eq!(
            (self.status, self.body["error"].as_str()),
            (status, Some(error)),
            "{}",
            self.text
        );
        assert!(self.body.get("code").is_none(), "{}", self.text);
        self
    }

    /// A rejected refresh token, with the end reason of its session.
    #[track_caller]
    pub fn assert_ended(self, reason: &str) -> Self {
        let answer = self.assert_problem(401, "invalid_grant");
        assert_eq!(answer.body["reason"], reason, "{}", answer.text);
        assert_eq!(answer.body["error"], "invalid_grant");
        answer
    }

    #[track_caller]
    pub fn tokens(self) -> Tokens {
        Tokens::of(&self.assert_status(200).body)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status, headers and body, without the parts that are unique to this request.
    pub fn without_its_request(&self) -> (u16, Vec<(String, String)>, Value) {
        let mut headers: Vec<(String, String)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .filter(|(name, _)| name != "date" && name != "x-request-id")
            .collect();
        headers.sort();
        let mut body = self.body.clone();
        body.as_object_mut().unwrap().remove("request_id").expect("a request id");
        (self.status, headers, body)
    }
}

/// The response to a login or a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub access: String,
    pub refresh: String,
    pub generation: u64,
    pub session: String,
}

impl Tokens {
    #[track_caller]
    fn of(body: &Value) -> Self {
        let text = |name: &str| body[name].as_str().expect("a token answer").to_owned();
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
            generation: body["generation"].as_u64().expect("a generation"),
            session: text("session_id"),
        }
    }
}

/// A registered client; a public one has an empty secret.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    pub secret: String,
}

/// A request that a test builds.
pub struct Call {
    method: Method,
    path: String,
    request: reqwest::RequestBuilder,
}

impl Call {
    /// A request to the service at `base`, without a trailing slash.
    pub fn to(http: &reqwest::Client, base: &str, method: &str, path: &str) -> Self {
        let method: Method = method.parse().unwrap();
        let request = http.request(method.clone(), format!("{base}{path}"));
        Self { method, path: path.to_owned(), request }
    }

    pub fn bearer(mut self, token: &str) -> Self {
        self.request = self.request.bearer_auth(token);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.request = self.request.json(body);
        self
    }

    pub fn body(mut self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.header("content-type", content_type).body(body);
        self
    }

    pub fn form(mut self, parameters: &[(&str, &str)]) -> Self {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let form = form.extend_pairs(parameters).finish();
        self.request = self.request.body(form);
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// `client_secret_basic`.
    pub fn client(mut self, client: &Client) -> Self {
        self.request = self.request.basic_auth(&client.id, Some(&client.secret));
        self
    }

    pub async fn send(self) -> Answer {
        self.try_send().await.expect("the service answers")
    }

    /// For a test that stops the service during its requests.
    pub async fn try_send(self) -> reqwest::Result<Answer> {
        let response = self.request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        contract::check(self.method.as_str(), &self.path, status, &headers, &bytes);
        Ok(Answer {
            status,
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}

impl TestApp {
    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::to(&self.http, &self.url(""), method, path)
    }

    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call("POST", path)
    }

    pub async fn register(&self, email: &str, password: &str) -> Answer {
        self.post("/register").json(&json!({ "email": email, "password": password })).send().await
    }

    pub async fn log_in(&self, email: &str, password: &str) -> Answer {
        self.post("/login").json(&json!({ "email": email, "password": password })).send().await
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/refresh").json(&json!({ "refresh_token": token })).send().await
    }

    /// A refresh with an `Idempotency-Key`.
    pub async fn refresh_with_key(&self, token: &str, key: &str) -> Answer {
        self.post("/refresh")
            .header("idempotency-key", key)
            .json(&json!({ "refresh_token": token }))
            .send()
            .await
    }

    pub async fn me(&self, access: &str) -> Answer {
        self.get("/me").bearer(access).send().await
    }

    /// A client created like by `doorward client add`.
    pub async fn client(&self, kind: ClientKind) -> Client {
        let (client, secret) = self.api.clients.add("a test's client", kind).await.unwrap();
        let secret = secret.map(|secret| secret.expose().clone()).unwrap_or_default();
        Client { id: client.id.to_string(), secret }
    }

    /// A confidential client with these scopes.
    pub async fn service(&self, scopes: &[&str]) -> Client {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        self.client(ClientKind::Confidential { scopes }).await
    }

    /// An app with the default settings.
    pub async fn public_client(&self) -> Client {
        self.client(ClientKind::Public {
            origins: Vec::new(),
            client_settings: ClientSettings::default(),
        })
        .await
    }

    /// A login to an app.
    pub async fn log_in_to(&self, client: &Client, email: &str) -> Answer {
        let body = json!({ "email": email, "password": PASSWORD, "client_id": client.id });
        self.post("/login").json(&body).send().await
    }

    /// A refresh by an app.
    pub async fn refresh_as(&self, client: &Client, token: &str) -> Answer {
        let body = json!({ "refresh_token": token, "client_id": client.id });
        self.post("/refresh").json(&body).send().await
    }

    /// The introspection of a token by a service.
    pub async fn introspect(&self, service: &Client, token: &str) -> Answer {
        self.post("/introspect").client(service).form(&[("token", token)]).send().await
    }

    /// A user with an account and a session.
    pub async fn signed_up(&self) -> User<'_> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let email = format!("user{}@example.com", COUNT.fetch_add(1, Ordering::Relaxed));
        let account = self.register(&email, PASSWORD).await.assert_status(201);
        let tokens = self.log_in(&email, PASSWORD).await.tokens();
        let id = account.body["id"].as_str().unwrap().to_owned();
        User { app: self, id, email, tokens }
    }
}

/// A user with an account.
pub struct User<'a> {
    pub app: &'a TestApp,
    pub id: String,
    pub email: String,
    pub tokens: Tokens,
}

impl User<'_> {
    /// A second session of the same account.
    pub async fn another_session(&self) -> Tokens {
        self.app.log_in(&self.email, PASSWORD).await.tokens()
    }

    pub async fn me(&self) -> Answer {
        self.app.me(&self.tokens.access).await
    }

    /// Refreshes with the stored token, and stores the new ones, if any.
    pub async fn refresh(&mut self) -> Answer {
        let answer = self.app.refresh(&self.tokens.refresh).await;
        if answer.status == 200 {
            self.tokens = Tokens::of(&answer.body);
        }
        answer
    }

    pub async fn log_out(&self) -> Answer {
        self.app.post("/logout").bearer(&self.tokens.access).send().await
    }

    pub async fn log_out_scope(&self, scope: &str) -> Answer {
        let path = format!("/logout?scope={scope}");
        self.app.post(&path).bearer(&self.tokens.access).send().await
    }

    pub async fn change_password(&self, present: &str, new: &str) -> Answer {
        let body = json!({ "current_password": present, "new_password": new });
        self.app.post("/me/password").bearer(&self.tokens.access).json(&body).send().await
    }

    pub async fn close(&self, password: &str) -> Answer {
        let body = json!({ "password": password });
        self.app.post("/me/close").bearer(&self.tokens.access).json(&body).send().await
    }
}
