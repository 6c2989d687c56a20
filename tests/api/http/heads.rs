//! Credentials, query parameters and malformed heads.

use serde_json::json;

use crate::support::client::PASSWORD;
use crate::support::{TestApp, raw};

use super::{assert_guarded, unharmed};

#[tokio::test]
async fn one_credential_a_request() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let bearer = format!("Bearer {}", user.tokens.access);
    for second in [bearer.as_str(), "Basic YTpi", ""] {
        for path in ["/me", "/healthz", "/nowhere"] {
            let call = app.get(path).header("authorization", &bearer);
            let answer = call.header("authorization", second).send().await;
            let answer = answer.assert_problem(400, "multiple_credentials");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.contains(r#"error="invalid_request""#), "{challenge}");
        }
    }
    let comma = format!("{bearer}, {bearer}");
    app.get("/me").header("authorization", &comma).send().await.assert_status(401);
}

#[tokio::test]
async fn a_token_in_the_query_is_rejected_on_every_path() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let access = &user.tokens.access;
    for query in [
        format!("access_token={access}"),
        format!("token={access}"),
        format!("a=b&Access_Token={access}"),
        format!("acc%65ss_token={access}"),
        format!("refresh_token={}", user.tokens.refresh),
        format!("password={}", PASSWORD.replace(' ', "+")),
    ] {
        for (method, path) in
            [("GET", "/me"), ("POST", "/logout"), ("GET", "/healthz"), ("GET", "/nowhere")]
        {
            for call in [
                app.call(method, &format!("{path}?{query}")),
                app.call(method, &format!("{path}?{query}")).bearer(access),
            ] {
                let answer = call.send().await.assert_problem(400, "token_in_query");
                assert!(!answer.text.contains(access.as_str()));
            }
        }
    }
    unharmed(user).await;
}

#[tokio::test]
async fn parameters_that_do_not_exist_or_cannot_be_decoded_are_refused() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for query in [
        "scope=everything",
        "scope=",
        "scope=ALL",
        "scope=%zz",
        "scope=%ff",
        "scope=all&scope=this",
        "scope[]=all",
        "all",
        "a=b",
    ] {
        let call = app.post(&format!("/logout?{query}")).bearer(&user.tokens.access);
        let answer = call.send().await;
        assert_eq!(answer.body["code"], "malformed_request", "{query}");
    }
    for id in ["%zz", "%", "%00", "%ff", "a", "..", "%2e%2e", "{id}", "019ab3d4"] {
        let request = format!(
            "DELETE /sessions/{id} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\n\r\n",
            user.tokens.access
        );
        let answer = raw::send(&app, request).await;
        assert_eq!(answer.status, 404, "{id}: {}", answer.text);
    }
    unharmed(user).await;
}

#[tokio::test]
async fn too_long_heads_are_rejected() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for path in ["/healthz?a=", "/nowhere/", "/sessions/"] {
        for length in [9_000, 60_000] {
            let answer = app.get(&format!("{path}{}", "x".repeat(length))).send().await;
            answer.assert_problem(414, "uri_too_long");
        }
    }
    for length in [40_000, 100_000, 500_000] {
        let line = format!("X-Long: {}\r\n", "x".repeat(length));
        let head = format!("GET /me HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{line}\r\n");
        raw::send(&app, head).await.assert_problem(431, "headers_too_large");
    }
    let many = "X-Many: x\r\n".repeat(5_000);
    let head = format!("GET /me HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{many}\r\n");
    raw::send(&app, head).await.assert_problem(431, "headers_too_large");
    let agent = "a".repeat(20_000);
    let call = app.post("/login").header("user-agent", &agent);
    let body = json!({ "email": user.email, "password": PASSWORD });
    let tokens = call.json(&body).send().await.tokens();
    let list = app.get("/sessions").bearer(&tokens.access).send().await.assert_status(200);
    let kept = list.body["sessions"].as_array().unwrap().iter();
    assert!(kept.map(|it| it["user_agent"].as_str().map_or(0, str::len)).all(|n| n <= 256));
}

#[tokio::test]
async fn non_http_input_gets_a_problem_document() {
    let app = TestApp::start().await;
    for request in [
        "GET\r\n\r\n",
        "GET /me\r\n\r\n",
        "GET /me HTTP/9.9\r\n\r\n",
        "GET /me HTTP/1.1\r\n\r\n",
        "GET /me HTTP/1.1\r\nHost a\r\n\r\n",
        "GET /me HTTP/1.1\r\nHo st: a\r\n\r\n",
        "GET /me HTTP/1.1\r\nHost: a\r\nX-Odd: a\0b\r\n\r\n",
        "GET /me HTTP/1.1\r\nHost: a\r\nX-Odd: a\r b\r\n\r\n",
        "GET /me HTTP/1.1\r\nHost: a\r\nX-Fold: a\r\n b\r\n\r\n",
        "GET /me x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /m\x01e HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let answer = raw::send(&app, request).await;
        assert!((400..500).contains(&answer.status), "{request:?}: {}", answer.text);
        assert_guarded(&answer);
    }
    let expectation = "POST /login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: magic\r\n\
                       Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let answer = raw::send(&app, expectation).await;
    assert!((400..500).contains(&answer.status), "{}", answer.text);
}
