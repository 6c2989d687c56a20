//! The built-in page for setting a password, as a browser without JavaScript uses it.

use super::NEW_PASSWORD;
use crate::support::client::Call;
use crate::support::mailbox::with_mail_and;
use crate::support::{Answer, PASSWORD, TestApp};

async fn service() -> TestApp {
    with_mail_and(|config| config.public_url = String::from("http://localhost")).await
}

fn own(app: &TestApp, path: &str) -> Call {
    app.post(path).header("origin", "http://localhost")
}

async fn submit(app: &TestApp, fields: &[(&str, &str)]) -> Answer {
    own(app, "/reset").form(fields).send().await.assert_status(200)
}

async fn request_message(app: &TestApp, email: &str) -> Answer {
    let form = own(app, "/reset/message").form(&[("email", email)]);
    form.send().await.assert_status(200)
}

#[tokio::test]
async fn a_pasted_link_sets_the_password_and_starts_no_session() {
    let app = service().await;
    let user = app.signed_up().await;
    let page = app.get("/reset").send().await.assert_status(200);
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "sha256-"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));

    app.forgot(&user.email).await;
    let message = app.message_to(&user.email).await;
    let link = format!("http://localhost/reset#token={}", message.token());
    assert!(message.text.contains(&link));
    // Scanners open links, which consumes nothing.
    for _ in 0..3 {
        app.get("/reset").send().await.assert_status(200);
    }
    let refused = submit(&app, &[("link", &link), ("password", "short")]).await;
    assert!(refused.text.contains("role=\"alert\""), "{}", refused.text);
    assert!(refused.text.contains(&format!("value=\"{link}\"")), "{}", refused.text);
    let done = submit(&app, &[("link", &link), ("password", NEW_PASSWORD)]).await;
    assert!(done.text.contains("Your password is set"), "{}", done.text);
    assert!(done.header("set-cookie").is_none());
    assert!(app.live_sessions(&user.id).await.is_empty());
    app.log_in(&user.email, NEW_PASSWORD).await.assert_status(200);
    let again = submit(&app, &[("link", &link), ("password", PASSWORD)]).await;
    assert!(again.text.contains("is no longer valid"), "{}", again.text);
}

#[tokio::test]
async fn the_page_requests_a_message_and_accepts_its_code() {
    let app = service().await;
    let user = app.signed_up().await;
    let asked = request_message(&app, &user.email).await;
    let nobody = request_message(&app, "nobody@example.com").await;
    assert_eq!(asked.text.len(), nobody.text.len(), "it is the same page");
    let start = asked.text.find("dwq_").unwrap();
    let request = &asked.text[start..start + 48];
    let code = app.message_to(&user.email).await.code();
    let fields = [("request", request), ("code", "0000-0000"), ("password", NEW_PASSWORD)];
    let wrong = submit(&app, &fields).await;
    assert!(
        wrong.text.contains("is no longer valid") && wrong.text.contains(request),
        "{}",
        wrong.text
    );
    let fields = [("request", request), ("code", &code), ("password", NEW_PASSWORD)];
    assert!(submit(&app, &fields).await.text.contains("Your password is set"));
    app.log_in(&user.email, NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_send_the_form() {
    let app = service().await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    let link = app.message_to(&user.email).await.token();
    let fields = [("link", link.as_str()), ("password", NEW_PASSWORD)];
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("x-nothing", ""),
    ] {
        for path in ["/reset", "/reset/message"] {
            let answer = app.post(path).header(name, value).form(&fields).send().await;
            answer.assert_problem(403, "csrf_refused");
        }
    }
    let json = own(&app, "/reset").body("application/json", "{}").send().await;
    json.assert_problem(415, "unsupported_media_type");
    app.reset_by_link(&link, NEW_PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn values_are_escaped_in_the_page() {
    let app = service().await;
    let odd = "\"><script>alert(1)</script>";
    let fields = [("request", odd), ("code", odd), ("password", NEW_PASSWORD)];
    let page = submit(&app, &fields).await;
    assert!(!page.text.contains("<script>alert"), "{}", page.text);
    let page = submit(&app, &[("link", odd), ("password", NEW_PASSWORD)]).await;
    assert!(!page.text.contains("<script>alert"), "{}", page.text);
    let page = request_message(&app, odd).await;
    assert!(page.text.contains("role=\"alert\""), "{}", page.text);
    assert!(!page.text.contains("<script>alert"), "{}", page.text);
}

#[tokio::test]
async fn the_page_requests_messages_at_the_rate_of_registrations() {
    let app = with_mail_and(|config| {
        config.public_url = String::from("http://localhost");
        config.limits.register_burst = 2;
        config.limits.register_per_minute = 1;
    });
    let app = app.await;
    let email = "nobody@example.com";
    request_message(&app, email).await;
    request_message(&app, email).await;
    let refused = own(&app, "/reset/message").form(&[("email", email)]).send().await;
    refused.assert_problem(429, "rate_limited");
    let other = submit(&app, &[("email", email)]).await;
    assert!(
        other.text.contains("is no longer valid"),
        "the other form requests nothing: {}",
        other.text
    );
}

#[tokio::test]
async fn the_forms_are_sent_below_the_path_of_the_public_url() {
    let app = with_mail_and(|config| config.public_url = String::from("http://localhost/a&b"));
    let page = app.await.get("/reset").send().await.assert_status(200);
    for action in ["action=\"/a&amp;b/reset\"", "action=\"/a&amp;b/reset/message\""] {
        assert!(page.text.contains(action), "{}", page.text);
    }
}

#[tokio::test]
async fn without_mail_the_page_is_email_off() {
    let app = TestApp::start().await;
    app.get("/reset").send().await.assert_problem(501, "email_off");
}
