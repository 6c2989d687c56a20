//! `/` and `/docs`: the first look of a person, and the links for programs.

use std::sync::mpsc;

use doorward::config::Registration;
use serde_json::json;

use crate::support::feed::looked_again;
use crate::support::{Answer, TestApp};

use super::{assert_guarded, list};

/// `Accept` of Chromium.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

const FILES: [&str; 2] = ["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"];

async fn index(app: &TestApp, accept: Option<&str>) -> Answer {
    let call = app.get("/");
    let call = match accept {
        Some(accept) => call.header("accept", accept),
        None => call,
    };
    let answer = call.send().await.assert_status(200);
    assert!(list(&answer, "vary").contains("accept"), "{:?}", answer.headers);
    assert_guarded(&answer);
    answer
}

#[tokio::test]
async fn a_browser_gets_a_page_and_every_other_client_json() {
    let app = TestApp::start().await;
    for accept in [BROWSER, "text/html", "application/json, TEXT/HTML;q=0.1"] {
        let page = index(&app, Some(accept)).await;
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{accept}");
    }
    for accept in [None, Some("*/*"), Some("application/json"), Some("text/html;q=0.0, */*")] {
        let answer = index(&app, accept).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{accept:?}");
    }
}

#[tokio::test]
async fn both_forms_have_the_state_and_the_same_links() {
    let app = TestApp::with(|config| config.public_url = "https://example.com/login".into()).await;
    app.catch_up();
    looked_again(&app).await;
    let answer = index(&app, None).await.body;
    let links = json!({
        "docs": "https://example.com/login/docs",
        "openapi": "https://example.com/login/openapi.yaml",
        "metadata": "https://example.com/login/.well-known/oauth-authorization-server",
        "jwks": "https://example.com/login/.well-known/jwks.json",
        "readiness": "https://example.com/login/readyz",
    });
    assert_eq!(answer["links"], links);
    assert_eq!(answer["status"], "ready");
    assert_eq!(answer["version"], env!("CARGO_PKG_VERSION"));
    let page = index(&app, Some(BROWSER)).await.text;
    for link in links.as_object().unwrap().values() {
        // Relative, so that they work at every address of the service.
        let link = link.as_str().unwrap().replace("https://example.com/login/", "href=\"");
        assert!(page.contains(&link), "{link}: {page}");
    }
    assert!(page.contains("class=\"ready\""), "{page}");
}

#[tokio::test]
async fn both_forms_say_that_the_node_is_not_ready() {
    let app = TestApp::with(|config| config.database.pool_size = 1).await;
    let (release, held) = mpsc::channel::<()>();
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
    let busy = tokio::spawn(app.db().read(move |_| {
        begun.blocking_send(()).unwrap();
        let _ = held.recv();
        Ok(())
    }));
    has_begun.recv().await;
    assert_eq!(index(&app, None).await.body["status"], "not_ready");
    let page = index(&app, Some(BROWSER)).await.text;
    assert!(page.contains("class=\"not_ready\"") && page.contains("Not ready: "), "{page}");
    drop(release);
    busy.await.unwrap().unwrap();
}

#[tokio::test]
async fn neither_page_names_another_host() {
    let app = TestApp::start().await;
    for page in [index(&app, Some(BROWSER)).await, app.get("/docs").send().await] {
        let page = page.assert_status(200);
        assert_guarded(&page);
        for attribute in ["src=\"", "href=\""] {
            for value in page.text.split(attribute).skip(1) {
                let value = value.split('"').next().unwrap();
                let is_own = !value.contains("//") && !value.starts_with('/');
                assert!(is_own, "{attribute}{value}");
            }
        }
    }
}

#[tokio::test]
async fn the_files_of_the_page_are_sent_compressed() {
    let app = TestApp::start().await;
    for (path, media_type) in FILES.into_iter().zip(["text/javascript", "text/css"]) {
        let answer = app.get(path).send().await.assert_status(200);
        assert!(answer.header("content-type").unwrap().starts_with(media_type), "{path}");
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert!((10_000..500_000).contains(&length), "{path}: {length} bytes");
        assert_guarded(&answer);
    }
}

#[tokio::test]
async fn the_page_offers_a_registration_only_where_everybody_may_register() {
    let command = |page: &Answer, path: &str| page.text.contains(&format!("{path} --json "));
    let open = index(&TestApp::start().await, Some(BROWSER)).await;
    assert!(command(&open, "/register") && !command(&open, "/login"), "{}", open.text);
    for policy in [Registration::Closed, Registration::Invite] {
        let app = TestApp::with(|config| config.accounts.registration = policy).await;
        let page = index(&app, Some(BROWSER)).await;
        assert!(command(&page, "/login") && !command(&page, "/register"), "{}", page.text);
    }
}

#[tokio::test]
async fn without_the_setting_there_is_no_page() {
    let app = TestApp::with(|config| config.docs.enabled = false).await;
    for path in ["/docs"].into_iter().chain(FILES) {
        app.get(path).send().await.assert_problem(404, "not_found");
    }
    assert_eq!(index(&app, None).await.body["links"].get("docs"), None);
    assert!(!index(&app, Some(BROWSER)).await.text.contains("href=\"docs\""));
}
