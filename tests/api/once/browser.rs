//! Cookies in a real browser: from pages of the same origin, of a listed one, of an unlisted one,
//! and of another site.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::browser::Browser;
use crate::support::{PASSWORD, TestApp, User};

/// The one page that every path serves. With `?reload=3` it refreshes, and reloads itself three
/// times before the response can arrive.
const PAGE: &str = r"<!doctype html><title>page</title><script>
const base = 'BASE';
const call = (path, init) => fetch(base + path, { credentials: 'include', ...init });
const post = (path, body) => call(path, { method: 'POST', ...body && {
  body: JSON.stringify(body), headers: { 'content-type': 'application/json' } } });
const told = async answer => [answer.status, await answer.text()];
const reloads = Number(new URLSearchParams(location.search).get('reload') ?? -1);
if (reloads >= 0) call('/refresh', { method: 'POST', keepalive: reloads % 2 === 0 });
if (reloads > 0) location.replace('?reload=' + (reloads - 1));
</script>";

/// A site on 127.0.0.1: the page above at `/page`, and `upstream`, if there is one, at every other
/// path.
pub async fn serve(listener: TcpListener, base: String, upstream: Option<SocketAddr>) {
    serve_page(listener, PAGE.replace("BASE", &base), upstream).await;
}

/// The same with another page.
pub async fn serve_page(listener: TcpListener, page: String, upstream: Option<SocketAddr>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let page = page.clone();
        tokio::spawn(async move {
            let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                let Ok(read @ 1..) = stream.read(&mut buffer).await else { return };
                head.extend_from_slice(&buffer[..read]);
            }
            let text = String::from_utf8_lossy(&head).into_owned();
            if let Some(upstream) = upstream
                && !text.starts_with("GET /page")
            {
                // One request per connection, so that the next one is examined, too.
                let text = text.replacen("Connection: keep-alive", "Connection: close", 1);
                let Ok(mut server) = TcpStream::connect(upstream).await else { return };
                if server.write_all(text.as_bytes()).await.is_ok() {
                    let _ = copy_bidirectional(&mut stream, &mut server).await;
                }
                return;
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{page}",
                page.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

/// Doorward at one port of localhost, with a page of its own origin; a page of a listed origin at
/// another, one of an unlisted origin, and one of another site.
struct Web {
    app: TestApp,
    own: String,
    listed: String,
    unlisted: String,
    foreign: String,
}

impl Web {
    async fn start() -> Self {
        let port = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let [own, listed, unlisted, foreign] =
            [port().await, port().await, port().await, port().await];
        let at = |host: &str, listener: &TcpListener| {
            format!("http://{host}:{}", listener.local_addr().unwrap().port())
        };
        let origins = [
            at("localhost", &own),
            at("localhost", &listed),
            at("localhost", &unlisted),
            at("foreign.test", &foreign),
        ];
        let app = TestApp::with(|config| {
            config.public_url.clone_from(&origins[0]);
            config.cors.origins = vec![origins[1].clone()];
        })
        .await;
        let base = &origins[0];
        tokio::spawn(serve(own, base.clone(), Some(app.address)));
        for listener in [listed, unlisted, foreign] {
            tokio::spawn(serve(listener, base.clone(), None));
        }
        let [own, listed, unlisted, foreign] = origins;
        Self { app, own, listed, unlisted, foreign }
    }
}

async fn log_in(browser: &Browser, user: &User<'_>) {
    let body = json!({ "email": user.email, "password": PASSWORD, "transport": "cookie" });
    let answer = browser.run(&format!("return told(await post('/login', {body}))")).await;
    assert_eq!(answer[0], 200, "{answer}");
    let text = answer[1].as_str().unwrap();
    assert!(!text.contains("eyJ") && !text.contains("dwr_"), "{text}");
}

#[tokio::test]
async fn chromium_keeps_a_session_whose_tokens_the_page_cannot_read() {
    let Some(browser) = Browser::start().await else { return };
    let web = Web::start().await;
    for origin in [&web.own, &web.listed] {
        let user = web.app.signed_up().await;
        browser.open(&format!("{origin}/page")).await;
        log_in(&browser, &user).await;
        let seen = "return [document.cookie, localStorage.length, sessionStorage.length]";
        assert_eq!(browser.run(seen).await, json!(["", 0, 0]), "no script sees a token");
        let me = browser.run("return told(await call('/me'))").await;
        assert!(me[0] == 200 && me[1].as_str().unwrap().contains(&user.email), "{me}");

        web.app.advance(31);
        browser.open(&format!("{origin}/page?reload=10")).await;
        browser.arrived(&format!("{origin}/page?reload=0")).await;
        browser.open(&format!("{origin}/page")).await;
        assert_eq!(browser.run("return (await call('/me')).status").await, 200);
        let refresh = "return (await (await post('/refresh')).json()).generation";
        // All of them got the same successor, whether or not its response arrived.
        assert_eq!(browser.run(refresh).await, 1);
        web.app.advance(31);
        assert_eq!(browser.run(refresh).await, 2);

        web.app.advance(600);
        let expired = browser.run("return (await (await call('/me')).json()).code").await;
        assert_eq!(expired, "token_expired");
        assert_eq!(browser.run(refresh).await, 3);
        assert_eq!(browser.run("return (await call('/me')).status").await, 200);

        let log_out = "return (await post('/logout')).status";
        assert_eq!(browser.run(log_out).await, 204);
        let gone =
            "return [(await (await call('/me')).json()).code, (await post('/refresh')).status]";
        assert_eq!(browser.run(gone).await, json!(["missing_token", 401]));
        assert_eq!(web.app.live_sessions(&user.id).await.len(), 1, "the sign-up's session");
    }
    browser.quit().await;
}

#[tokio::test]
async fn chromium_lets_a_foreign_page_change_nothing_and_read_nothing() {
    let Some(browser) = Browser::start().await else { return };
    let web = Web::start().await;
    let user = web.app.signed_up().await;
    let thief = web.app.signed_up().await;
    browser.open(&format!("{}/page", web.own)).await;
    log_in(&browser, &user).await;
    let live = web.app.live_sessions(&user.id).await;
    assert_eq!(live.len(), 2);

    // The cookies are sent from the same site, from every origin; from another site they are not.
    let (with, without) = ("csrf_refused", "missing_token");
    for (origin, refusal) in [(&web.unlisted, with), (&web.foreign, without)] {
        let page = format!("{origin}/page");
        browser.open(&page).await;
        for path in ["/me", "/sessions", "/verify", "/healthz"] {
            let read = browser.run(&format!("return told(await call('{path}'))")).await;
            assert!(read.as_str().is_some_and(|it| it.starts_with("failed: ")), "{path}: {read}");
        }
        for (path, scope) in [("/refresh", ""), ("/logout", ""), ("/logout", "?scope=all")] {
            // Sent at once, because it needs no preflight; the page cannot read the response.
            let script = format!("return told(await post('{path}{scope}'))");
            let read = browser.run(&script).await;
            assert!(read.as_str().is_some_and(|it| it.starts_with("failed: ")), "{path}: {read}");
            let script = format!(
                "return told(await call('{path}{scope}', {{ method: 'POST', mode: 'no-cors' }}))"
            );
            assert_eq!(browser.run(&script).await, json!([0, ""]), "{path}");
        }
        // It cannot log the visitor in to another person's account, either.
        let body = json!({ "email": thief.email, "password": PASSWORD, "transport": "cookie" });
        let login = browser.run(&format!("return told(await post('/login', {body}))")).await;
        assert!(login.as_str().is_some_and(|it| it.starts_with("failed: ")), "{login}");
        let login = format!(
            "return told(await call('/login', {{ method: 'POST', mode: 'no-cors',
               body: JSON.stringify({body}) }}))"
        );
        assert_eq!(browser.run(&login).await, json!([0, ""]));
        for path in ["/me", "/logout", "/refresh"] {
            let image = format!(
                "const image = new Image();
                 const ended = new Promise(done => image.onload = image.onerror = done);
                 image.src = base + '{path}';
                 return (await ended).type"
            );
            assert_eq!(browser.run(&image).await, "error", "{path}");
        }
        for path in ["/logout", "/logout?scope=all", "/refresh", "/me/close"] {
            browser.open(&page).await;
            let form = format!(
                "const form = document.createElement('form');
                 form.method = 'POST';
                 form.action = base + '{path}';
                 document.body.append(form);
                 form.submit();"
            );
            browser.run(&form).await;
            browser.arrived(&format!("{}{path}", web.own)).await;
            if path == "/logout" {
                assert!(browser.source().await.contains(refusal), "{}", browser.source().await);
            }
        }

        assert_eq!(web.app.live_sessions(&user.id).await, live);
        browser.open(&format!("{}/page", web.own)).await;
        let me = browser.run("return told(await call('/me'))").await;
        assert!(me[0] == 200 && me[1].as_str().unwrap().contains(&user.email), "{me}");
    }
    assert_eq!(web.app.live_sessions(&thief.id).await.len(), 1);
    web.app.advance(31);
    let refresh = "return (await (await post('/refresh')).json()).generation";
    assert_eq!(browser.run(refresh).await, 1, "nobody has refreshed before");
    browser.quit().await;
}
