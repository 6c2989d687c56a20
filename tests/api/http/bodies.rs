//! Media types, encodings and sizes of bodies.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::PASSWORD;
use crate::support::{TestApp, raw};

use super::{gzip, impatient, routes_with_body, unharmed};

#[tokio::test]
async fn only_plain_json_reaches_a_handler() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for (path, good) in routes_with_body() {
        let form: Vec<String> = (good.as_object().unwrap().iter())
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
            .collect();
        let (json, form) = (good.to_string(), form.join("&"));
        for (media_type, body) in [
            ("application/x-www-form-urlencoded", &form),
            ("application/x-www-form-urlencoded", &json),
            ("multipart/form-data; boundary=a", &json),
            ("text/plain", &json),
            ("text/plain; charset=utf-8", &json),
            ("text/json", &json),
            ("application/jsonp", &json),
            ("application/problem+json", &json),
            ("application/json; charset=utf-16", &json),
            ("application/json; charset=latin1", &json),
            ("application/json, text/plain", &json),
            ("", &json),
            ("*/*", &json),
        ] {
            let call = app.post(path).bearer(&user.tokens.access);
            let answer = call.body(media_type, body.clone()).send().await;
            answer.assert_problem(415, "unsupported_media_type");
        }
        let bare = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\
             Connection: close\r\n",
            user.tokens.access,
            json.len()
        );
        let twice = "Content-Type: application/json\r\nContent-Type: text/plain\r\n";
        for types in ["", twice] {
            let answer = raw::send(&app, format!("{bare}{types}\r\n{json}")).await;
            answer.assert_problem(415, "unsupported_media_type");
        }
        let blank = " ".repeat(json.len());
        let accepted = format!("{bare}Content-Type: Application/JSON;charset=UTF-8\r\n\r\n{blank}");
        assert_eq!(raw::send(&app, accepted).await.status, 400, "{path}: the type is good");
    }
    unharmed(user).await;
}

#[tokio::test]
async fn a_body_in_another_encoding_is_never_unpacked() {
    let app = TestApp::start().await;
    let body = json!({ "email": "zip@example.com", "password": PASSWORD }).to_string();
    for (encoding, bytes) in [
        ("gzip", gzip(body.as_bytes())),
        ("x-gzip", gzip(body.as_bytes())),
        ("deflate", gzip(body.as_bytes())),
        ("br", body.clone().into_bytes()),
        ("gzip, identity", body.clone().into_bytes()),
        ("gzip", gzip(&vec![b' '; 20_000_000])),
    ] {
        let call = app.post("/register").header("content-encoding", encoding);
        let answer = call.body("application/json", bytes).send().await;
        answer.assert_problem(415, "unsupported_media_type");
    }
    let plain = app.post("/register").body("application/json", gzip(body.as_bytes()));
    plain.send().await.assert_problem(400, "malformed_request");
    let identity = app.post("/register").header("content-encoding", "identity");
    identity.body("application/json", body).send().await.assert_status(201);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_without_being_read() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let limit = app.config.limits.max_body_bytes;
    for (path, _) in routes_with_body() {
        let call = |body: String| {
            app.post(path).bearer(&user.tokens.access).body("application/json", body)
        };
        for size in [limit + 1, 5_000_000] {
            let answer = call(" ".repeat(size)).send().await;
            answer.assert_problem(413, "payload_too_large");
        }
        let largest = format!("[]{}", " ".repeat(limit - 2));
        call(largest).send().await.assert_problem(400, "malformed_request");
        // It does not wait for an announced body.
        let announced = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: 5000000\r\n\r\n{{",
            user.tokens.access
        );
        let answer = raw::send(&app, announced).await;
        assert_eq!(answer.header("connection"), Some("close"));
        answer.assert_problem(413, "payload_too_large");
    }
    unharmed(user).await;
}

#[tokio::test]
async fn a_chunked_body_is_rejected_at_the_limit() {
    let app = TestApp::with(impatient).await;
    let head = "POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let answer = raw::send(&app, format!("{head}{}", chunk.repeat(20))).await;
    assert_eq!(answer.header("connection"), Some("close"));
    answer.assert_problem(413, "payload_too_large");
    // A client that keeps sending is disconnected, and may then have lost the response.
    let stream = TcpStream::connect(app.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let endless = async {
        writer.write_all(head.as_bytes()).await.unwrap();
        while writer.write_all(chunk.as_bytes()).await.is_ok() {}
    };
    let mut answer = Vec::new();
    let both = async { tokio::join!(endless, reader.read_to_end(&mut answer)) };
    let ended = tokio::time::timeout(Duration::from_secs(6), both).await;
    assert!(ended.is_ok(), "nobody reads forever");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 413 "));
    app.get("/healthz").send().await.assert_status(200);
}

#[tokio::test]
async fn line_breaks_in_fields_are_refused() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for break_ in ["\r\n", "\n", "\r"] {
        let odd = |text: &str| format!("{text}{break_}Set-Cookie: a=b");
        let email = json!({ "email": odd("eve@example.com"), "password": PASSWORD });
        app.post("/register").json(&email).send().await.assert_problem(422, "invalid_fields");
        app.post("/login").json(&email).send().await.assert_problem(401, "invalid_credentials");
        let label = json!({ "email": user.email, "password": PASSWORD, "label": odd("phone") });
        let answer = app.post("/login").json(&label).send().await;
        let answer = answer.assert_problem(422, "invalid_fields");
        assert_eq!(answer.body["errors"][0]["pointer"], "/label");
        app.refresh(&odd(&user.tokens.refresh)).await.assert_ended("unknown_token");
        let in_path = break_.replace('\r', "%0d").replace('\n', "%0a");
        let path = format!("/sessions/{}{in_path}", user.tokens.session);
        let call = app.call("DELETE", &path).bearer(&user.tokens.access);
        call.send().await.assert_problem(404, "not_found");
        let path = format!("/logout?scope=this{in_path}");
        let call = app.post(&path).bearer(&user.tokens.access);
        call.send().await.assert_problem(400, "malformed_request");
    }
    unharmed(user).await;
}
