//! Cookie logins from same-site and cross-site pages: each works, or is rejected with the reason.
//! The same in Chromium, for every combination of the hosts of page and service.

use doorward::config::SameSite;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::once::browser::serve;
use crate::support::browser::Browser;
use crate::support::jar::{HTTPS, log_in};
use crate::support::{PASSWORD, TestApp};

const LISTED: &str = "https://app.example.com";

async fn start(same_site: SameSite) -> TestApp {
    TestApp::with(|config| {
        config.public_url = HTTPS.into();
        config.cors.origins = vec![LISTED.into()];
        config.cookies.same_site = same_site;
    })
    .await
}

#[tokio::test]
async fn a_cookie_login_across_sites_is_refused_unless_the_cookies_are_for_every_site() {
    for (same_site, site, expected) in [
        (SameSite::Lax, "cross-site", None),
        (SameSite::Strict, "cross-site", None),
        (SameSite::None, "cross-site", Some(2)),
        (SameSite::Lax, "same-site", Some(2)),
        (SameSite::Strict, "same-site", Some(2)),
    ] {
        let app = start(same_site).await;
        let user = app.signed_up().await;
        let call = log_in(&app, &user.email).header("sec-fetch-site", site);
        let answer = call.header("origin", LISTED).send().await;
        let cookies = answer.headers.get_all("set-cookie").iter().count();
        if let Some(expected) = expected {
            answer.assert_status(200);
            assert_eq!(cookies, expected);
        } else {
            let answer = answer.assert_problem(400, "cookies_blocked");
            assert_eq!(cookies, 0);
            assert_eq!(answer.header("access-control-allow-origin"), Some(LISTED), "readable");
            for remedy in ["127.0.0.1", "cookies.same_site"] {
                assert!(answer.text.contains(remedy), "{}", answer.text);
            }
            assert_eq!(app.live_sessions(&user.id).await.len(), 1, "the sign-up's session");
        }
    }
}

#[tokio::test]
async fn without_any_token_the_rejection_names_both_transports() {
    let app = start(SameSite::Lax).await;
    let page = |call: crate::support::client::Call| {
        call.header("origin", LISTED).header("sec-fetch-site", "same-site").send()
    };
    for call in [
        app.post("/refresh"),
        app.post("/refresh").json(&json!({ "client_id": "doorward" })),
        app.post("/logout"),
        app.get("/me"),
    ] {
        let refused = page(call).await.assert_problem(401, "missing_token");
        assert!(refused.text.contains("cookie"), "{}", refused.text);
    }
}

/// A page at one host, and a service that it calls at another.
struct Pair {
    app: TestApp,
    page: String,
}

impl Pair {
    async fn start(page: &str, service: &str, same_site: SameSite) -> Self {
        let [own, other] = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let at = |host: &str, listener: &TcpListener| {
            format!("http://{host}:{}", listener.local_addr().unwrap().port())
        };
        let (page, service) = (at(page, &other), at(service, &own));
        let app = TestApp::with(|config| {
            // Cookies for every site require https in the settings; Chromium stores them for this
            // machine.
            let is_none = same_site == SameSite::None;
            config.public_url = if is_none { HTTPS.into() } else { service.clone() };
            config.cors.origins = vec![page.clone()];
            config.cookies.same_site = same_site;
        })
        .await;
        tokio::spawn(serve(own, service.clone(), Some(app.address)));
        tokio::spawn(serve(other, service, None));
        Self { app, page }
    }

    /// The responses to the page's login, and then for its own account and a refresh.
    async fn log_in(&self, browser: &Browser) -> [Value; 3] {
        let user = self.app.signed_up().await;
        browser.open(&format!("{}/page", self.page)).await;
        let body = json!({ "email": user.email, "password": PASSWORD, "transport": "cookie" });
        let said = "return [answer.status, (await answer.json()).code ?? null]";
        let login = format!("const answer = await post('/login', {body}); {said}");
        let me = format!("const answer = await call('/me'); {said}");
        let refresh = format!("const answer = await post('/refresh'); {said}");
        [browser.run(&login).await, browser.run(&me).await, browser.run(&refresh).await]
    }
}

#[tokio::test]
async fn chromium_logs_in_with_cookies_or_gets_the_reason_for_every_pair_of_hosts() {
    let Some(browser) = Browser::start().await else { return };
    let (works, blocked) = (json!([200, null]), json!([400, "cookies_blocked"]));
    let missing = json!([401, "missing_token"]);
    for (page, service, same_site, is_kept) in [
        // One host, another port.
        ("localhost", "localhost", SameSite::Lax, true),
        ("127.0.0.1", "127.0.0.1", SameSite::Lax, true),
        // The two names of this machine.
        ("localhost", "127.0.0.1", SameSite::Lax, false),
        ("127.0.0.1", "localhost", SameSite::Lax, false),
        // Two hosts of one site.
        ("page.app.localhost", "login.app.localhost", SameSite::Lax, true),
        ("page.app.localhost", "login.app.localhost", SameSite::Strict, true),
        // Another site.
        ("foreign.test", "localhost", SameSite::Lax, false),
        ("foreign.test", "localhost", SameSite::None, true),
        ("localhost", "127.0.0.1", SameSite::None, true),
    ] {
        let pair = Pair::start(page, service, same_site).await;
        let told = pair.log_in(&browser).await;
        let expected = if is_kept {
            [works.clone(), works.clone(), works.clone()]
        } else {
            [blocked.clone(), missing.clone(), missing.clone()]
        };
        assert_eq!(told, expected, "{page} to {service}, {same_site:?}");
    }
    browser.quit().await;
}
