//! A real browser: Chromium, driven by `WebDriver` (W3C). Only the commands that the tests need.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::{Program, find, free_port};
use super::until;

/// Disables features of Chromium, and lets it run as root and without a screen.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP foreign.test 127.0.0.1",
];

/// A browser with a separate profile. For it, `foreign.test` is this machine.
pub struct Browser {
    http: reqwest::Client,
    session: String,
    _driver: Program,
    _home: TempDir,
}

impl Browser {
    /// Starts one, if it is installed; otherwise the test is skipped with a notice.
    pub async fn start() -> Option<Self> {
        let [driver, chromium] = find(["chromedriver", "chromium"], "chromium chromium-driver")?;
        Some(Self::with(driver, chromium, &json!({})).await)
    }

    /// Starts one that runs no scripts of pages.
    pub async fn without_scripts() -> Option<Self> {
        let [driver, chromium] = find(["chromedriver", "chromium"], "chromium chromium-driver")?;
        let blocked = json!({ "profile.managed_default_content_settings.javascript": 2 });
        Some(Self::with(driver, chromium, &blocked).await)
    }

    async fn with(driver: PathBuf, chromium: PathBuf, more: &Value) -> Self {
        let (home, port) = (tempfile::tempdir().unwrap(), free_port());
        let program = Program::start(&driver, &[&format!("--port={port}")], home.path());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let status = format!("{url}/status");
        until(async || http.get(&status).send().await.is_ok()).await;
        let profile = format!("--user-data-dir={}", home.path().join("profile").display());
        let flags: Vec<&str> = FLAGS.into_iter().chain([profile.as_str()]).collect();
        // Some distributions block every third-party cookie.
        let mut prefs = json!({ "profile.cookie_controls_mode": 0 });
        prefs.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let options = json!({ "binary": chromium, "args": flags, "prefs": prefs });
        let logged = json!({ "performance": "ALL", "browser": "ALL" });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": logged });
        let body = json!({ "capabilities": { "alwaysMatch": wanted } });
        let made = http.post(format!("{url}/session")).json(&body).send().await.unwrap();
        let made: Value = made.json().await.unwrap();
        let id = made["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{made}"));
        let session = format!("{url}/session/{id}");
        Self { http, session, _driver: program, _home: home }
    }

    async fn command(&self, path: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}/{path}", self.session)).json(body);
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer["value"].get("error").is_none(), "{path} {body}: {answer}");
        answer["value"].take()
    }

    /// Sets the size of the window, in pixels.
    pub async fn resize(&self, width: u32, height: u32) {
        self.command("window/rect", &json!({ "width": width, "height": height })).await;
    }

    /// Navigates to a page and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        self.command("url", &json!({ "url": url })).await;
    }

    /// Waits until the page has navigated to this address.
    pub async fn arrived(&self, url: &str) {
        until(async || self.ask("url").await == url).await;
    }

    /// The page's source.
    pub async fn source(&self) -> String {
        self.ask("source").await.as_str().unwrap().to_owned()
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}/{path}", self.session)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["value"].take()
    }

    /// Runs the body of an async function in the page, and returns its result.
    pub async fn run(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             (async () => {{ {script} }})().then(done, error => done('failed: ' + error));"
        );
        self.command("execute/async", &json!({ "script": script, "args": [] })).await
    }

    /// Types a text into the field of a selector.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.command(&format!("element/{element}/value"), &json!({ "text": text })).await;
    }

    /// Clicks on the element of a selector.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.command(&format!("element/{element}/click"), &json!({})).await;
    }

    /// The URL of every request since the last call.
    pub async fn requests(&self) -> Vec<String> {
        let entries = self.command("se/log", &json!({ "type": "performance" })).await;
        let messages = entries.as_array().unwrap().iter().map(|entry| {
            let text = entry["message"].as_str().unwrap();
            serde_json::from_str::<Value>(text).unwrap()["message"].take()
        });
        let sent = messages.filter(|it| it["method"] == "Network.requestWillBeSent");
        sent.map(|it| it["params"]["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// The messages of the console since the last call, with refusals by a content security policy.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.command("se/log", &json!({ "type": "browser" })).await;
        let entries = entries.as_array().unwrap().iter();
        entries.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    async fn element(&self, selector: &str) -> String {
        let by = json!({ "using": "css selector", "value": selector });
        let found = self.command("element", &by).await;
        let found = found.as_object().unwrap().values().next().unwrap();
        found.as_str().unwrap().to_owned()
    }

    /// Ends it in an orderly way.
    pub async fn quit(self) {
        let _ = self.http.delete(&self.session).send().await;
    }
}
