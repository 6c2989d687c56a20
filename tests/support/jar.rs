//! A minimal cookie jar: the value set last for a name counts.

use std::collections::BTreeMap;

use serde_json::json;

use super::client::Call;
use super::{Answer, PASSWORD, TestApp};

/// The public URL of services whose cookies browsers store.
pub const HTTPS: &str = "https://login.example.com";

/// The cookies of one browser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jar(pub BTreeMap<String, String>);

impl Jar {
    /// Logs in with cookies.
    pub async fn log_in(app: &TestApp, email: &str) -> Self {
        let mut jar = Self::default();
        jar.keep(&log_in(app, email).header("sec-fetch-site", "same-origin").send().await);
        assert_eq!(jar.0.len(), 2, "{jar:?}");
        jar
    }

    /// Applies the cookies of a response.
    #[track_caller]
    pub fn keep(&mut self, answer: &Answer) {
        for field in answer.headers.get_all("set-cookie") {
            let (pair, attributes) = field.to_str().unwrap().split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            // A browser accepts a name with this prefix only under these conditions (RFC 6265bis
            // 5.7).
            for wanted in ["Secure", "HttpOnly", "Path=/"] {
                assert!(attributes.split("; ").any(|it| it == wanted), "{field:?}");
            }
            assert!(name.starts_with("__Host-") && !attributes.contains("Domain"), "{field:?}");
            if attributes.contains("Max-Age=0") {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// The `Cookie` header.
    pub fn field(&self) -> String {
        let pairs: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    pub fn access(&self) -> &str {
        &self.0["__Host-doorward-access"]
    }

    /// The names of the cookies with refresh tokens.
    pub fn refresh_names(&self) -> Vec<&str> {
        let names = self.0.keys().map(String::as_str);
        names.filter(|name| name.starts_with("__Host-doorward-refresh-")).collect()
    }

    /// A request from a page of the same origin.
    pub fn own(&self, call: Call) -> Call {
        call.header("cookie", &self.field()).header("sec-fetch-site", "same-origin")
    }

    pub async fn refresh(&self, app: &TestApp) -> Answer {
        self.own(app.post("/refresh")).send().await
    }

    pub async fn me(&self, app: &TestApp) -> Answer {
        self.own(app.get("/me")).send().await
    }
}

/// A login that asks for cookies, without browser headers.
pub fn log_in(app: &TestApp, email: &str) -> Call {
    let body = json!({ "email": email, "password": PASSWORD, "transport": "cookie" });
    app.post("/login").json(&body)
}
