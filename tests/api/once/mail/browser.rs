//! The built-in page in a real browser, with scripts and without.

use crate::support::browser::Browser;
use crate::support::mailbox::with_mail_and;
use crate::support::program::free_port;
use crate::support::{TestApp, until};

const NEW: &str = "nine herons borrow umbrellas";

/// A service at a name that a browser trusts without https.
async fn service() -> (TestApp, String) {
    let port = free_port();
    let home = format!("http://localhost:{port}");
    let public = home.clone();
    let app = with_mail_and(|config| {
        config.listen = ([127, 0, 0, 1], port).into();
        config.public_url = public;
    });
    (app.await, home)
}

async fn says(browser: &Browser, text: &str) {
    until(async || browser.source().await.contains(text)).await;
}

#[tokio::test]
async fn with_scripts_the_link_fills_the_form_and_leaves_the_address_bar() {
    let Some(browser) = Browser::start().await else { return };
    let (app, home) = service().await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    let token = app.message_to(&user.email).await.token();
    browser.open(&format!("{home}/reset#token={token}")).await;
    browser.arrived(&format!("{home}/reset")).await;
    browser.type_into("[name=password]", "short").await;
    browser.click("button").await;
    says(&browser, "role=\"alert\"").await;
    browser.type_into("[name=password]", NEW).await;
    browser.click("button").await;
    says(&browser, "Your password is set").await;
    app.log_in(&user.email, NEW).await.assert_status(200);
    browser.quit().await;
}

#[tokio::test]
async fn with_scripts_a_link_fills_the_page_that_is_open_already() {
    let Some(browser) = Browser::start().await else { return };
    let (app, home) = service().await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    let token = app.message_to(&user.email).await.token();
    let link = format!("{home}/reset#token={token}");
    browser.open(&format!("{home}/reset")).await;
    browser.open(&link).await;
    browser.arrived(&format!("{home}/reset")).await;
    // A page without that field, at the same address.
    browser.type_into("[name=password]", NEW).await;
    browser.click("button").await;
    says(&browser, "Your password is set").await;
    browser.open(&link).await;
    browser.type_into("[name=password]", NEW).await;
    browser.click("button").await;
    says(&browser, "is no longer valid").await;
    browser.quit().await;
}

#[tokio::test]
async fn without_scripts_the_page_asks_for_a_message_and_takes_its_code() {
    let Some(browser) = Browser::without_scripts().await else { return };
    let (app, home) = service().await;
    let user = app.signed_up().await;
    browser.open(&format!("{home}/reset")).await;
    browser.type_into("[name=email]", &user.email).await;
    browser.click("#ask button").await;
    says(&browser, "a message is sent to it").await;
    let code = app.message_to(&user.email).await.code();
    browser.type_into("[name=code]", &code).await;
    browser.type_into("[name=password]", NEW).await;
    browser.click("button").await;
    says(&browser, "Your password is set").await;
    app.log_in(&user.email, NEW).await.assert_status(200);
    browser.quit().await;
}

#[tokio::test]
async fn without_scripts_a_link_is_pasted() {
    let Some(browser) = Browser::without_scripts().await else { return };
    let (app, home) = service().await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    let token = app.message_to(&user.email).await.token();
    let link = format!("{home}/reset#token={token}");
    browser.open(&link).await;
    browser.type_into("[name=link]", &link).await;
    browser.type_into("[name=password]", NEW).await;
    browser.click("button").await;
    says(&browser, "Your password is set").await;
    browser.quit().await;
}
