//! Requests from pages of other origins.

use serde_json::json;

use crate::support::client::Call;
use crate::support::jar::{HTTPS, Jar, log_in};
use crate::support::{PASSWORD, User};

use super::{LISTED, NEW_PASSWORD, SITE, from, set, start};

/// Browsers' headers for requests that no page may send.
const REJECTED_PAGES: [&[(&str, &str)]; 9] = [
    &[],
    &[(SITE, "cross-site")],
    &[(SITE, "same-site")],
    &[(SITE, "cross-site"), ("origin", "https://evil.example")],
    &[(SITE, "same-site"), ("origin", "https://evil.login.example.com")],
    &[(SITE, "cross-site"), ("origin", "null")],
    &[("origin", "https://evil.example")],
    &[("origin", "null")],
    &[("origin", "http://app.example.com")],
];

/// Their headers for requests that pages may send.
const ALLOWED_PAGES: [&[(&str, &str)]; 6] = [
    &[(SITE, "same-origin")],
    &[(SITE, "same-origin"), ("origin", HTTPS)],
    &[(SITE, "none")],
    &[(SITE, "same-site"), ("origin", LISTED)],
    &[("origin", LISTED)],
    &[("origin", HTTPS)],
];

#[tokio::test]
async fn a_foreign_page_changes_nothing() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    let change = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    for page in REJECTED_PAGES {
        for call in [
            app.post("/refresh"),
            app.post("/logout"),
            app.post("/logout?scope=all"),
            app.call("DELETE", &format!("/sessions/{}", user.tokens.session)),
            app.post("/me/password").json(&change),
            app.post("/me/close").json(&json!({ "password": PASSWORD })),
            app.get("/verify").header("x-original-method", "POST"),
        ] {
            let call = from(page, call.header("cookie", &jar.field()));
            let refused = call.send().await.assert_problem(403, "csrf_refused");
            assert_eq!(set(&refused), [""; 0]);
        }
        // It cannot log its visitor in to the attacker's account, either.
        let login = from(page, log_in(&app, &user.email)).send().await;
        assert_eq!(set(&login.assert_problem(403, "csrf_refused")), [""; 0]);
    }
    unharmed(&user, &jar).await;
}

#[tokio::test]
async fn a_form_or_a_link_from_anywhere_changes_nothing() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    let fields = "refresh_token=x&password=y";
    for path in ["/login", "/refresh", "/logout", "/me/password", "/me/close"] {
        for media_type in
            ["application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "text/plain"]
        {
            // Even like the page itself.
            let call = jar.own(app.post(path)).body(media_type, fields);
            let answer = call.send().await;
            answer.assert_problem(415, "unsupported_media_type");
        }
        let link = app.get(path).header("cookie", &jar.field()).send().await;
        link.assert_problem(405, "method_not_allowed");
    }
    for path in ["/me", "/sessions", "/verify", "/healthz", "/readyz"] {
        let call = app.get(path).header("cookie", &jar.field()).header(SITE, "cross-site");
        let answer = call.send().await;
        assert_eq!(set(&answer), [""; 0]);
        assert!(answer.header("access-control-allow-origin").is_none());
    }
    unharmed(&user, &jar).await;
}

async fn unharmed(user: &User<'_>, jar: &Jar) {
    let app = user.app;
    assert_eq!(app.live_sessions(&user.id).await.len(), 2);
    jar.me(app).await.assert_status(200);
    user.me().await.assert_status(200);
    app.advance(31);
    assert_eq!(jar.refresh(app).await.assert_status(200).body["generation"], 1);
}

#[tokio::test]
async fn a_page_of_this_origin_or_of_a_listed_one_may() {
    let app = start().await;
    let user = app.signed_up().await;
    for page in ALLOWED_PAGES {
        let mut jar = Jar::default();
        jar.keep(&from(page, log_in(&app, &user.email)).send().await.assert_status(200));
        let with = |jar: &Jar, call: Call| from(page, call.header("cookie", &jar.field())).send();
        let refreshed = with(&jar, app.post("/refresh")).await.assert_status(200);
        jar.keep(&refreshed);
        let verify = app.get("/verify").header("x-forwarded-method", "DELETE");
        with(&jar, verify).await.assert_status(200);
        with(&jar, app.post("/logout")).await.assert_status(204);
    }
}

#[tokio::test]
async fn only_a_listed_origin_reads_an_answer_to_cookies() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    for (origin, allowed) in [(LISTED, true), ("https://evil.example", false), ("null", false)] {
        for path in ["/me", "/sessions", "/verify"] {
            let call = app.get(path).header("cookie", &jar.field());
            let answer = call.header("x-original-method", "GET").header("origin", origin);
            let answer = answer.send().await;
            let names = ["access-control-allow-origin", "access-control-allow-credentials"];
            let permission = names.map(|name| answer.header(name));
            let expected = if allowed { [Some(origin), Some("true")] } else { [None, None] };
            assert_eq!(permission, expected, "{origin} {path}");
        }
    }
}
