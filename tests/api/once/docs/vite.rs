//! The Vite proxy of `docs/web-apps.md`, with Vite and Chromium.

use std::fs;

use serde_json::json;

use crate::once::interop::node_home;
use crate::support::browser::Browser;
use crate::support::program::{Program, find, free_port};
use crate::support::{PASSWORD, TestApp, docs, until};

#[tokio::test]
async fn a_page_behind_the_vite_proxy_logs_in_with_cookies() {
    let Some([node]) = find(["node"], "nodejs") else { return };
    let Some(libraries) = node_home() else { return };
    let Some(browser) = Browser::start().await else { return };
    let port = free_port();
    let origin = format!("http://localhost:{port}");
    let app = TestApp::with(|config| config.public_url = format!("{origin}/auth")).await;

    let home = tempfile::tempdir().unwrap();
    let config = docs::block("docs/web-apps.md", "// vite.config.mjs");
    assert!(config.contains("http://127.0.0.1:8080"), "{config}");
    let config = config.replace("http://127.0.0.1:8080", &app.url(""));
    fs::write(home.path().join("vite.config.mjs"), config).unwrap();
    fs::write(home.path().join("package.json"), r#"{ "type": "module" }"#).unwrap();
    let client = docs::block("docs/web-apps.md", "const call = ");
    let client = client.replace("https://login.example.com", "/auth");
    let page = format!("<!doctype html><title>page</title><script>\n{client}</script>");
    fs::write(home.path().join("index.html"), page).unwrap();
    let vite = libraries.join("node_modules/vite/bin/vite.js");
    let flags = ["--host", "localhost", "--port", &port.to_string(), "--strictPort"];
    let arguments = [&[vite.to_str().unwrap()][..], &flags].concat();
    let _vite = Program::start(&node, &arguments, home.path());
    until(async || app.http.get(&origin).send().await.is_ok()).await;

    let user = app.signed_up().await;
    browser.open(&format!("{origin}/")).await;
    let credentials = format!("{}, {}", json!(user.email), json!(PASSWORD));
    assert_eq!(browser.run(&format!("return (await logIn({credentials})).status")).await, 200);
    app.advance(601);
    assert_eq!(browser.run("return (await api('/me')).status").await, 200);
    assert_eq!(browser.run("return (await logOut()).status").await, 204);
    browser.quit().await;
}
