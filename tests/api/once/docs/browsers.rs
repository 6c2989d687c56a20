//! The clients of `docs/web-apps.md`, in Chromium.

use serde_json::json;
use tokio::net::TcpListener;

use crate::once::browser::serve_page;
use crate::support::browser::Browser;
use crate::support::{PASSWORD, TestApp, docs};

/// The address in the samples.
const LOGIN: &str = "https://login.example.com";

fn page(sample: &str, base: &str) -> String {
    assert!(sample.contains(LOGIN), "{sample}");
    let script = sample.replace(LOGIN, base);
    format!("<!doctype html><title>page</title><script>\n{script}</script>")
}

async fn bind() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    (listener, origin)
}

#[tokio::test]
async fn the_client_with_bearer_tokens_survives_expiry_tabs_and_a_logout_elsewhere() {
    let Some(browser) = Browser::start().await else { return };
    let (listener, origin) = bind().await;
    let app = TestApp::with(|config| config.cors.origins = vec![origin.clone()]).await;
    let base = app.url("");
    let sample = docs::block("docs/web-apps.md", "const login = ");
    tokio::spawn(serve_page(listener, page(&sample, &base), None));
    let user = app.signed_up().await;
    browser.open(&format!("{origin}/page")).await;

    let log_in = format!("return logIn({}, {})", json!(user.email), json!(PASSWORD));
    let me = format!("return (await api('{base}/me')).status");
    assert_eq!(browser.run(&log_in).await, true);
    assert_eq!(browser.run(&me).await, 200);
    app.advance(601);
    assert_eq!(browser.run(&me).await, 200, "after one refresh");
    let stored = "return [read().generation, 'key' in read()]";
    assert_eq!(browser.run(stored).await, json!([1, false]));
    app.advance(601);
    let many =
        format!("return Promise.all([1, 2, 3].map(async () => (await api('{base}/me')).status))");
    assert_eq!(browser.run(&many).await, json!([200, 200, 200]));
    assert_eq!(browser.run(stored).await, json!([2, false]));

    let old = browser.run("return localStorage.getItem('tokens')").await;
    let log_out = "return (await logOut()).status";
    assert_eq!(browser.run(log_out).await, 204);
    assert_eq!(browser.run("return read()").await, json!(null));
    assert_eq!(browser.run(&me).await, 401);
    // A copy of the tokens is discarded when Doorward says that the session has ended.
    let restored = format!("localStorage.setItem('tokens', {old}); {me}");
    assert_eq!(browser.run(&restored).await, 401);
    assert_eq!(browser.run("return read()").await, json!(null));
    browser.quit().await;
}

#[tokio::test]
async fn the_client_with_cookies_never_sees_a_token() {
    let Some(browser) = Browser::start().await else { return };
    let (listener, origin) = bind().await;
    let app = TestApp::with(|config| config.public_url.clone_from(&origin)).await;
    let sample = docs::block("docs/web-apps.md", "const call = ");
    tokio::spawn(serve_page(listener, page(&sample, &origin), Some(app.address)));
    let user = app.signed_up().await;
    browser.open(&format!("{origin}/page")).await;

    let credentials = format!("{}, {}", json!(user.email), json!(PASSWORD));
    assert_eq!(browser.run(&format!("return (await logIn({credentials})).status")).await, 200);
    let me = "return (await api('/me')).status";
    assert_eq!(browser.run(me).await, 200);
    app.advance(601);
    assert_eq!(browser.run(me).await, 200, "after one refresh");
    assert_eq!(browser.run("return document.cookie").await, "");
    assert_eq!(browser.run("return (await logOut()).status").await, 204);
    assert_eq!(browser.run(me).await, 401);
    browser.quit().await;
}
