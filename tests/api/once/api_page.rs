//! The pages at `/` and `/docs` in a real browser.

use crate::support::binary::{Doorward, doorward};
use crate::support::browser::Browser;
use crate::support::{PASSWORD, TestApp, until};

/// Types a value into the body of an operation, executes it, and returns the status and the body of
/// the answer.
const TRY: &str = r"
const until = async (found) => {
    for (let tries = 0; tries < 300; tries++) {
        const it = found();
        if (it) return it;
        await new Promise(done => setTimeout(done, 100));
    }
    throw new Error('never: ' + found + document.body.innerText.slice(0, 2000));
};
const block = await until(() => document.querySelector(`[id$='-${operation}']`));
const inside = (selector) => until(() => block.querySelector(selector));
if (!block.classList.contains('is-open')) (await inside('.opblock-summary-control')).click();
const button = await inside('.try-out__btn');
if (!button.classList.contains('cancel')) button.click();
if (body) {
    const area = await inside('textarea.body-param__text');
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set.call(area, body);
    area.dispatchEvent(new Event('input', { bubbles: true }));
    area.dispatchEvent(new Event('change', { bubbles: true }));
    await until(() => block.querySelector('textarea.body-param__text').value === body);
}
(await inside('button.execute')).click();
const status = await inside('.live-responses-table .response .response-col_status');
const text = await inside('.live-responses-table .highlight-code');
return [parseInt(status.innerText), text.innerText];
";

async fn try_out(browser: &Browser, operation: &str, body: &str) -> (i64, String) {
    let start = format!("const operation = '{operation}', body = {body:?};");
    let answer = browser.run(&(start + TRY)).await;
    let status = answer[0].as_i64().unwrap_or_else(|| panic!("{operation}: {answer}"));
    (status, answer[1].as_str().unwrap().to_owned())
}

/// The address of the browser's own pages.
fn is_own_page(url: &str) -> bool {
    ["data:", "chrome:", "about:"].iter().any(|scheme| url.starts_with(scheme))
}

#[tokio::test]
async fn chromium_registers_logs_in_and_reads_the_account_by_try_it_out() {
    let Some(browser) = Browser::start().await else { return };
    let app = TestApp::start().await;
    let home = format!("http://{}", app.address);
    browser.open(&format!("{home}/docs")).await;
    let account = format!(r#"{{"email":"ada@example.com","password":"{PASSWORD}"}}"#);
    let (status, text) = try_out(&browser, "register", &account).await;
    assert!(status == 201 && text.contains("ada@example.com"), "{status} {text}");
    let (status, text) = try_out(&browser, "me", "").await;
    assert!(status == 401 && text.contains("missing_token"), "{status} {text}");
    let (status, text) = try_out(&browser, "logIn", &account).await;
    assert!(status == 200 && text.contains("access_token"), "{status} {text}");
    // The page uses the token of the login.
    browser.run("document.querySelector(`[id$='-me'] .btn-clear`).click()").await;
    let (status, text) = try_out(&browser, "me", "").await;
    assert!(status == 200 && text.contains("ada@example.com"), "{status} {text}");

    let requests = browser.requests().await;
    let foreign: Vec<_> = requests
        .iter()
        .filter(|url| !url.starts_with(&format!("{home}/")) && !is_own_page(url))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    for path in ["/docs", "/docs/swagger-ui.css", "/openapi.yaml", "/login", "/me"] {
        assert!(requests.contains(&format!("{home}{path}")), "{path}: {requests:?}");
    }
    let console = browser.console().await;
    let refused: Vec<_> = console.iter().filter(|it| it.contains("Content Security")).collect();
    assert!(refused.is_empty(), "{refused:?}");
    // The policy is in force, and this log has its refusals.
    let refused = browser.run("await fetch('http://foreign.test:9/')").await;
    assert!(refused.as_str().unwrap().starts_with("failed: "), "{refused}");
    let console = browser.console().await;
    assert!(console.iter().any(|it| it.contains("Content Security")), "{console:?}");
    browser.quit().await;
}

#[tokio::test]
async fn chromium_sees_the_state_and_the_links_in_one_screen() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let service = Doorward::start(&mut doorward(folder.path()));
    let home = service.url.clone();
    // A small laptop's.
    browser.resize(1366, 768).await;
    browser.open(&format!("{home}/")).await;
    let seen =
        "return [document.documentElement.scrollHeight <= innerHeight, document.body.innerText]";
    let seen = browser.run(seen).await;
    let text = seen[1].as_str().unwrap();
    assert_eq!(seen[0], true, "it is one screen: {text}");
    for part in ["A self-hosted login service", "Running, and ready", "API page"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    browser.run("document.querySelector('a[href=docs]').click()").await;
    browser.arrived(&format!("{home}/docs")).await;
    browser.open(&format!("{home}/")).await;
    // The state is live: it changes without a reload.
    assert!(service.stop().0.success());
    let state = "return document.querySelector('#state').className";
    until(async || browser.run(state).await == "not_ready").await;
    let requests = browser.requests().await;
    let is_own = |url: &&String| url.starts_with(&format!("{home}/")) || is_own_page(url);
    assert!(requests.iter().all(|url| is_own(&url)), "{requests:?}");
    let console = browser.console().await;
    assert!(!console.iter().any(|it| it.contains("Content Security")), "{console:?}");
    browser.quit().await;
}
