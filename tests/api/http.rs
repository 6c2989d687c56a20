//! What the network can bring: odd bodies, odd requests, requests that never end; and what every
//! answer has in common.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorward::config::Config;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::support::app::ISSUER;
use crate::support::client::PASSWORD;
use crate::support::contract::Contract;
use crate::support::feed::looked_again;
use crate::support::{Answer, TestApp, User, claims, raw};

const ORIGIN: &str = "https://app.example.com";

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "BREW"];

// The routes.

#[test]
fn the_router_and_openapi_yaml_know_the_same_operations() {
    assert_eq!(router(), Contract::load().operations());
}

#[tokio::test]
async fn every_path_answers_other_methods_with_those_that_it_knows() {
    let app = TestApp::start().await;
    for (path, known) in by_path(&router()) {
        let path = path.replace("{id}", "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75");
        let unknown = |method: &&str| match *method {
            "HEAD" => !known.contains("GET"),
            method => !known.contains(method),
        };
        for method in METHODS.into_iter().filter(unknown) {
            let answer = app.call(method, &path).send().await.assert_status(405);
            let allow = answer.header("allow").unwrap();
            let allowed: BTreeSet<String> =
                allow.split(',').map(|method| method.trim().to_owned()).collect();
            assert_eq!(allowed, known, "{method} {path}");
            let is_said = answer.body["code"] == "method_not_allowed"
                || answer.body["error"] == "invalid_request";
            assert!(method == "HEAD" || is_said, "{method} {path}");
            assert_guarded(&answer);
        }
    }
}

#[tokio::test]
async fn head_is_answered_as_get_without_the_body() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for operation in router() {
        let Some(path) = operation.strip_prefix("GET ") else { continue };
        for token in [Some(user.tokens.access.as_str()), None] {
            let asked = async |method: &str| {
                let call = app.call(method, path);
                token.map_or(app.call(method, path), |token| call.bearer(token)).send().await
            };
            let (get, head) = (asked("GET").await, asked("HEAD").await);
            assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
            let compared = ["content-type", "cache-control", "etag", "www-authenticate"];
            for name in compared {
                assert_eq!(head.header(name), get.header(name), "{path}: {name}");
            }
            assert_guarded(&head);
        }
    }
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_a_404_for_every_method() {
    let app = TestApp::start().await;
    for path in [
        "/",
        "/nowhere",
        "/login/",
        "//login",
        "/Login",
        "/me/nothing",
        "/sessions/",
        "/sessions/a/b",
        "/%6cogi%6e%2f",
        "/.well-known",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%",
        "/%zz",
        "/%ff%fe",
        "/%00",
    ] {
        for method in METHODS {
            let answer = app.call(method, path).send().await.assert_status(404);
            assert_guarded(&answer);
        }
    }
    for path in ["/../login", "/./login", "/me/../login", "/login;x=1", "/sessions/../me"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = raw::send(&app, head).await;
        assert!([404, 405].contains(&answer.status), "{path}: {}", answer.text);
    }
}

// Bodies.

#[tokio::test]
async fn a_body_that_is_not_a_json_object_is_rejected_everywhere() {
    let app = TestApp::with(|config| config.limits.max_body_bytes = 1 << 20).await;
    let user = app.signed_up().await;
    let deep = |open: &str, close: &str| open.repeat(100_000) + "1" + &close.repeat(100_000);
    let not_objects: Vec<Vec<u8>> = [
        "not JSON",
        " ",
        "[]",
        "[{}]",
        "null",
        "\"text\"",
        "1",
        "true",
        "{",
        "}",
        "{\"a\"",
        "{\"a\":}",
        "{'a':1}",
        "{a:1}",
        "{\"a\":1,}",
        "{} {}",
        "{}x",
        "{}\0",
        "{\"a\":01}",
        "{\"a\":NaN}",
        "{\"a\":1e999}",
        "{\"a\":\"line\nbreak\"}",
        "/**/{}",
        "\u{feff}{}",
        &deep("[", "]"),
        &deep("{\"a\":", "}"),
        &"[".repeat(100_000),
        &"{\"a\":".repeat(100_000),
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    let not_text = [
        b"{\"a\":\"\xff\"}".to_vec(),
        b"{\"a\":\"\xc0\x80\"}".to_vec(),
        b"{\"a\":\"\xed\xa0\x80\"}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
        vec![0; 100],
    ];
    for (path, _) in doors() {
        for body in not_objects.iter().chain(&not_text) {
            let call = app.post(path).bearer(&user.tokens.access);
            let answer = call.body("application/json", body.clone()).send().await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            assert_eq!(answer.body["code"], "malformed_request", "{path} {shown}");
            assert!(answer.text.len() < 1000, "{path} {shown}: nothing of it is repeated");
        }
    }
    unharmed(user).await;
}

#[tokio::test]
async fn members_that_can_be_read_in_two_ways_are_refused_everywhere() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for (path, good) in doors() {
        let good = good.to_string();
        let name = good.split('"').nth(1).unwrap();
        let escaped = format!("\\u{:04x}{}", u32::from(name.as_bytes()[0]), &name[1..]);
        let more = |member: &str| format!("{},{member}}}", good.strip_suffix('}').unwrap());
        let only = |value: &str| format!("{{\"{name}\":{value}}}");
        for body in [
            more(&format!("\"{name}\":\"other\"")),
            more(&format!("\"{escaped}\":\"other\"")),
            only(r#"{"a":1,"a":2}"#),
            only(r#"[{"a":{"b":1,"\u0062":1}}]"#),
            only(&("[".repeat(17) + &"]".repeat(17))),
            only(&("[".repeat(5000) + &"]".repeat(5000))),
            only(r#""\u0000""#),
            only(r#""a\u0000b""#),
            only(r#"["\u0000"]"#),
            only("\"\0\""),
            only(r#""\ud800""#),
            only(r#""\udc00""#),
            only(r#""\ud800\ud800""#),
            only(r#""\udc00\ud800""#),
            only(r#""\ud83dx""#),
            format!("{{\"{name}\\u0000\":\"a\"}}"),
            format!("{{\"\\ud800\":\"a\",{}", &good[1..]),
        ] {
            let call = app.post(path).bearer(&user.tokens.access);
            let answer = call.body("application/json", body.clone()).send().await;
            assert_eq!(answer.body["code"], "malformed_request", "{path} {body}: {}", answer.text);
        }
    }
    unharmed(user).await;
}

#[tokio::test]
async fn unknown_missing_and_mistyped_members_are_refused_and_named() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for (path, good) in doors() {
        let refusal = async |body: &Value, pointer: &str| {
            let call = app.post(path).bearer(&user.tokens.access);
            let answer = call.json(body).send().await.assert_problem(400, "malformed_request");
            assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{path} {body}");
            answer
        };
        for name in ["roles", "id", "is_admin", "disabled_at", "email_key", "password_hash"] {
            let mut body = good.clone();
            body[name] = json!(["admin"]);
            refusal(&body, &format!("/{name}")).await;
        }
        let mut body = good.clone();
        body["a/b~c"] = json!(1);
        refusal(&body, "/a~1b~0c").await;
        for name in good.as_object().unwrap().keys() {
            let pointer = format!("/{name}");
            for wrong in [json!(1), json!(-1.5), json!(true), json!([]), json!(["a"]), json!({})] {
                let mut body = good.clone();
                body[name] = wrong;
                refusal(&body, &pointer).await;
            }
            if path != "/logout" {
                let mut body = good.clone();
                body[name] = Value::Null;
                refusal(&body, &pointer).await;
                body.as_object_mut().unwrap().remove(name);
                refusal(&body, &pointer).await;
            }
        }
    }
    unharmed(user).await;
}

#[tokio::test]
async fn roles_and_ids_cannot_be_set_by_signing_up() {
    let app = TestApp::start().await;
    let body = json!({ "email": "eve@example.com", "password": PASSWORD, "roles": ["admin"] });
    app.post("/register").json(&body).send().await.assert_status(400);
    app.log_in("eve@example.com", PASSWORD).await.assert_status(401);
    let user = app.signed_up().await;
    assert_eq!(user.me().await.assert_status(200).body["roles"], json!([]));
}

#[tokio::test]
async fn only_plain_json_reaches_a_handler() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for (path, good) in doors() {
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
    for (path, _) in doors() {
        let call = |body: String| {
            app.post(path).bearer(&user.tokens.access).body("application/json", body)
        };
        for size in [limit + 1, 5_000_000] {
            let answer = call(" ".repeat(size)).send().await;
            answer.assert_problem(413, "payload_too_large");
        }
        let largest = format!("[]{}", " ".repeat(limit - 2));
        call(largest).send().await.assert_problem(400, "malformed_request");
        // Nobody waits for what is announced.
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
async fn a_body_in_chunks_ends_at_the_limit_too() {
    let app = TestApp::with(impatient).await;
    let head = "POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let answer = raw::send(&app, format!("{head}{}", chunk.repeat(20))).await;
    assert_eq!(answer.header("connection"), Some("close"));
    answer.assert_problem(413, "payload_too_large");
    // Whoever goes on sending is cut off, and may then have lost the answer.
    let stream = TcpStream::connect(app.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let endless = async {
        writer.write_all(head.as_bytes()).await.unwrap();
        while writer.write_all(chunk.as_bytes()).await.is_ok() {}
    };
    let mut answer = Vec::new();
    let both = async { tokio::join!(endless, reader.read_to_end(&mut answer)) };
    let ended = tokio::time::timeout(Duration::from_secs(6), both).await;
    assert!(ended.is_ok(), "nobody reads on for ever");
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

// Heads.

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

// Time.

#[tokio::test]
async fn endless_requests_time_out_without_blocking_others() {
    let app = TestApp::start().await;
    let access = app.signed_up().await.tokens.access;
    let app = app.restart_with(impatient).await;
    let head = "POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    let of_body = format!("{head}Content-Length: 1000\r\n\r\n");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let whole = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let unread = "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    let second = format!("{whole}GET /healthz HTTP/1.1\r\nHo");
    // What comes first, what comes then again and again, and the status of the last answer.
    let cases: [(&str, &str, &str, Option<u16>); 11] = [
        ("a body that never comes", &of_body, "", Some(408)),
        ("a body that trickles", &of_body, " ", Some(408)),
        ("a chunk that never comes", &chunked, "", Some(408)),
        ("chunks that trickle", &chunked, "1\r\n \r\n", Some(408)),
        ("a body that nobody reads", unread, "", Some(200)),
        ("a trickle that nobody reads", unread, " ", Some(200)),
        ("a head that never ends", "GET /healthz HTTP/1.1\r\nHo", "", Some(408)),
        ("a head that trickles", "GET /healthz HTTP/1.1\r\nX-A: ", "a", Some(408)),
        ("a second head that trickles", &second, "s", Some(200)),
        ("an idle connection", whole, "", Some(200)),
        ("a connection without a word", "", "", None),
    ];
    let over = AtomicBool::new(false);
    let slow = async {
        let all = cases.iter().flat_map(|case| std::iter::repeat_n(case, 20));
        join_all(all.map(|(what, first, then, status)| {
            let address = app.address;
            async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(first.as_bytes()).await.unwrap();
                let ended = trickle(&mut stream, then).await;
                let text = ended.unwrap_or_else(|| panic!("{what}: still open after 6 seconds"));
                let last = text.rfind("HTTP/1.1 ").map(|at| &text[at..]);
                let found = last.map(|answer| answer[9..12].parse().unwrap());
                if let Some(status) = status {
                    assert_eq!(found, Some(*status), "{what}: {text}");
                } else {
                    assert!(found.is_none_or(|status| status == 408), "{what}: {text}");
                }
                if found == Some(408) {
                    let answer = raw::read("POST", "/login", last.unwrap());
                    assert_eq!(answer.header("connection"), Some("close"), "{what}");
                    assert!(answer.header("retry-after").is_some(), "{what}");
                    answer.assert_problem(408, "request_timeout");
                }
            }
        }))
        .await;
        over.store(true, Ordering::Relaxed);
    };
    let meanwhile = async {
        let mut served = 0;
        while !over.load(Ordering::Relaxed) {
            let in_time = tokio::time::timeout(Duration::from_secs(1), app.me(&access)).await;
            in_time.expect("served at once").assert_status(200);
            served += 1;
        }
        served
    };
    let ((), served) = tokio::join!(slow, meanwhile);
    assert!(served > 20, "{served} requests in some seconds");
}

/// Sends the same bytes again and again until the server closes; `None` when it does not.
async fn trickle(stream: &mut TcpStream, then: &str) -> Option<String> {
    let mut heard = String::new();
    for _ in 0..24 {
        if !then.is_empty() && stream.write_all(then.as_bytes()).await.is_err() {
            return Some(heard);
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer);
        match tokio::time::timeout(Duration::from_millis(250), read).await {
            Ok(Ok(0) | Err(_)) => return Some(heard),
            Ok(Ok(count)) => heard += &String::from_utf8_lossy(&buffer[..count]),
            Err(_) => {}
        }
    }
    None
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another_and_pipelined_ones_in_order() {
    let app = TestApp::start().await;
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let asked = ["/healthz", "/nowhere", "/me", "/healthz"];
    for path in &asked[..3] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let last = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(last.as_bytes()).await.unwrap();
    let text = raw::until_closed(&mut stream, Duration::from_secs(5)).await.unwrap();
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|it| &it[..3]).collect();
    assert_eq!(statuses, ["200", "404", "401", "200"], "{text}");
}

// What all answers have.

#[tokio::test]
async fn every_response_has_security_headers_and_only_public_ones_are_cacheable() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let etag = app.get("/.well-known/jwks.json").send().await;
    let etag = etag.header("etag").unwrap().to_owned();
    app.catch_up();
    looked_again(&app).await;
    let calls = [
        (200, app.get("/healthz")),
        (200, app.get("/readyz")),
        (200, app.get("/openapi.yaml")),
        (200, app.get("/.well-known/jwks.json")),
        (304, app.get("/.well-known/jwks.json").header("if-none-match", &etag)),
        (200, app.get("/.well-known/oauth-authorization-server")),
        (200, app.get("/me").bearer(&user.tokens.access)),
        (200, app.get("/sessions").bearer(&user.tokens.access)),
        (401, app.get("/me")),
        (401, app.get("/me").bearer("x")),
        (404, app.get("/nowhere")),
        (405, app.get("/login")),
        (405, app.call("HEAD", "/login")),
        (405, app.call("OPTIONS", "/login")),
        (400, app.get("/me?token=x")),
        (400, app.post("/login").body("application/json", "{")),
        (415, app.post("/login").body("text/plain", "{}")),
        (413, app.post("/login").body("application/json", " ".repeat(100_000))),
        (422, app.post("/register").json(&json!({ "email": "a", "password": "b" }))),
        (401, app.post("/login").json(&json!({ "email": "a", "password": "b" }))),
        (401, app.post("/refresh").json(&json!({ "refresh_token": "dwr_" }))),
        (409, app.post("/register").json(&json!({ "email": user.email, "password": PASSWORD }))),
        (204, app.post("/logout").bearer(&user.tokens.access)),
    ];
    let mut ids = HashSet::new();
    for (status, call) in calls {
        let answer = call.header("x-request-id", "chosen-by-the-client").send().await;
        let answer = answer.assert_status(status);
        assert_guarded(&answer);
        assert!(answer.header("strict-transport-security").is_none(), "the URL is http");
        assert!(answer.header("server").is_none() && answer.header("x-powered-by").is_none());
        let id = answer.header("x-request-id").unwrap();
        assert!(Uuid::parse_str(id).is_ok() && ids.insert(id.to_owned()), "{id}");
        if status >= 400 && answer.header("content-length") != Some("0") && !answer.text.is_empty()
        {
            assert_eq!(answer.body["request_id"], id);
        }
    }
}

#[tokio::test]
async fn https_public_url_sends_hsts_and_subdomains_only_if_configured() {
    let told = "max-age=600; includeSubDomains";
    for (hsts, expected) in
        [(None, Some("max-age=31536000")), (Some(told), Some(told)), (Some(""), None)]
    {
        let app = TestApp::with(|config| {
            config.public_url = "https://login.example.com".into();
            if let Some(hsts) = hsts {
                config.tls.hsts = hsts.into();
            }
        })
        .await;
        for path in ["/healthz", "/me", "/nowhere", "/login"] {
            let answer = app.get(path).send().await;
            assert_eq!(answer.header("strict-transport-security"), expected);
            assert_guarded(&answer);
        }
    }
}

#[tokio::test]
async fn request_ids_are_unique() {
    let app = TestApp::start().await;
    let answers = join_all((0..200).map(|_| app.get("/nowhere").send())).await;
    let ids: HashSet<&str> = answers.iter().map(|it| it.header("x-request-id").unwrap()).collect();
    assert_eq!(ids.len(), 200);
}

// Other origins.

#[tokio::test]
async fn a_listed_origin_is_answered_by_name_on_every_answer() {
    let app = TestApp::with(|config| {
        config.cors.origins = vec![ORIGIN.into(), "http://localhost:5173".into()];
    })
    .await;
    let user = app.signed_up().await;
    for origin in [ORIGIN, "http://localhost:5173"] {
        for (status, call) in [
            (200, app.get("/me").bearer(&user.tokens.access)),
            (401, app.get("/me")),
            (401, app.post("/refresh").json(&json!({ "refresh_token": "dwr_" }))),
            (400, app.post("/refresh").body("application/json", "{")),
            (400, app.get("/me?token=x")),
            (404, app.get("/nowhere")),
            (405, app.get("/login")),
        ] {
            let answer = call.header("origin", origin).send().await.assert_status(status);
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{status}");
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
            let exposed = list(&answer, "access-control-expose-headers");
            for name in ["retry-after", "www-authenticate", "x-request-id"] {
                assert!(exposed.contains(name), "{status}: {exposed:?}");
            }
            assert!(list(&answer, "vary").contains("origin"), "{status}");
            assert_guarded(&answer);
        }
    }
}

#[tokio::test]
async fn a_foreign_origin_gets_no_permission() {
    let app = TestApp::with(|config| config.cors.origins = vec![ORIGIN.into()]).await;
    let user = app.signed_up().await;
    for origin in [
        "https://evil.example",
        "https://app.example.com.evil.example",
        "https://evil-app.example.com",
        "https://sub.app.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "HTTPS://APP.EXAMPLE.COM",
        "null",
        "*",
        "",
    ] {
        for call in [
            app.get("/me").bearer(&user.tokens.access),
            app.get("/nowhere"),
            app.post("/refresh").json(&json!({ "refresh_token": "dwr_" })),
        ] {
            let answer = call.header("origin", origin).send().await;
            assert_no_permission(&answer, origin);
            assert!(list(&answer, "vary").contains("origin"), "{origin}: {:?}", answer.headers);
        }
        let preflight = app
            .call("OPTIONS", "/refresh")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send()
            .await;
        assert_no_permission(&preflight, origin);
        assert!((400..500).contains(&preflight.status), "{origin}");
    }
    user.me().await.assert_status(200);
}

#[tokio::test]
async fn an_answer_without_an_origin_is_not_kept_for_one_with() {
    let app = TestApp::with(|config| config.cors.origins = vec![ORIGIN.into()]).await;
    for (path, allowed) in [
        ("/.well-known/jwks.json", Some("*")),
        ("/openapi.yaml", Some("*")),
        ("/healthz", None),
        ("/me", None),
    ] {
        let answer = app.get(path).send().await;
        assert!(list(&answer, "vary").contains("origin"), "{path}: {:?}", answer.headers);
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
    }
}

#[tokio::test]
async fn a_preflight_allows_only_the_needed_methods_and_headers() {
    let app = TestApp::with(|config| config.cors.origins = vec![ORIGIN.into()]).await;
    let preflight = async |path: &str, method: &str, fields: &str| {
        app.call("OPTIONS", path)
            .header("origin", ORIGIN)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", fields)
            .send()
            .await
    };
    for (path, method) in [
        ("/refresh", "POST"),
        ("/login", "POST"),
        ("/me", "GET"),
        ("/sessions/019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75", "DELETE"),
    ] {
        let asked = "authorization,baggage,content-type,idempotency-key,traceparent,tracestate";
        let answer = preflight(path, method, asked).await;
        let answer = answer.assert_status(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        let methods = list(&answer, "access-control-allow-methods");
        assert_eq!(methods, ["delete", "get", "post"].map(String::from).into());
        let fields = list(&answer, "access-control-allow-headers");
        assert_eq!(fields, asked.split(',').map(String::from).collect());
        assert!(answer.header("access-control-max-age").is_some());
        assert!(list(&answer, "vary").contains("origin"));
        assert_guarded(&answer);
    }
    for (method, fields) in [("PUT", "content-type"), ("POST", "x-other"), ("", "content-type")] {
        let answer = preflight("/refresh", method, fields).await;
        assert!((400..500).contains(&answer.status), "{method} {fields}: {}", answer.text);
        assert_guarded(&answer);
    }
}

#[tokio::test]
async fn without_listed_origins_cors_is_off() {
    let app = TestApp::start().await;
    for origin in [ORIGIN, "null", "http://doorward.test"] {
        assert_no_permission(&app.get("/healthz").header("origin", origin).send().await, origin);
        let preflight = app
            .call("OPTIONS", "/login")
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        let answer = preflight.send().await;
        assert!((400..500).contains(&answer.status), "{origin}");
        assert_no_permission(&answer, origin);
    }
}

// What anybody may read.

#[tokio::test]
async fn the_description_that_is_served_is_the_file() {
    let app = TestApp::start().await;
    let answer = app.get("/openapi.yaml").send().await.assert_status(200);
    assert_eq!(answer.text, include_str!("../../openapi.yaml"));
    assert_eq!(answer.header("content-type"), Some("application/yaml"));
}

#[tokio::test]
async fn the_metadata_points_to_the_keys() {
    let app = TestApp::with(|config| config.public_url = "https://example.com/login/".into()).await;
    let metadata = app.get("/.well-known/oauth-authorization-server").send().await;
    let metadata = metadata.assert_status(200).body;
    assert_eq!(metadata["issuer"], "https://example.com/login");
    assert_eq!(metadata["jwks_uri"], "https://example.com/login/.well-known/jwks.json");
}

#[tokio::test]
async fn a_running_node_lives_and_is_ready() {
    let app = TestApp::start().await;
    let alive = app.get("/healthz").send().await.assert_status(200);
    assert_eq!(alive.body, json!({ "status": "ok" }));
    app.catch_up();
    looked_again(&app).await;
    let ready = app.get("/readyz").send().await.assert_status(200);
    assert_eq!(ready.body["status"], "ready");
    assert!(ready.body["revocations_age_seconds"].as_f64().unwrap() < 5.0);
}

// What a request says of itself.

#[tokio::test]
async fn no_header_changes_the_issuer_or_a_url() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let plain = app.get("/.well-known/oauth-authorization-server").send().await;
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "evil.example:443"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-url", "/me"),
        ("x-rewrite-url", "/me"),
        ("x-http-method-override", "POST"),
        ("forwarded", "host=evil.example;proto=https"),
    ] {
        let call = app.get("/.well-known/oauth-authorization-server").header(name, value);
        assert_eq!(call.send().await.assert_status(200).body, plain.body, "{name}");
        let body = json!({ "email": user.email, "password": PASSWORD });
        let tokens = app.post("/login").header(name, value).json(&body).send().await.tokens();
        assert_eq!(claims(&tokens.access)["iss"], ISSUER, "{name}");
        app.me(&tokens.access).await.assert_status(200);
        let call = app.get("/nowhere").header(name, value);
        let answer = call.send().await.assert_problem(404, "not_found");
        assert!(!answer.text.contains("evil"), "{name}");
    }
    let absolute =
        "GET http://evil.example/healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = raw::exchange(&app, absolute.as_bytes(), Duration::from_secs(2)).await;
    assert!(!text.contains("evil"));
}

#[tokio::test]
async fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
    let believed = "198.51.100.7";
    for (trusted, forwarded, address) in [
        (&[][..], believed, "127.0.0.1"),
        (&["10.0.0.0/8"], believed, "127.0.0.1"),
        (&["127.0.0.0/8"], "203.0.113.1, 198.51.100.7", believed),
        (&["127.0.0.0/8"], "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
    ] {
        let app = TestApp::with(|config| {
            config.trusted_proxies = trusted.iter().map(|it| it.parse().unwrap()).collect();
        })
        .await;
        let user = app.signed_up().await;
        let body = json!({ "email": user.email, "password": PASSWORD });
        let call = app.post("/login").header("x-forwarded-for", forwarded).json(&body);
        let call = call.header("x-real-ip", "192.0.2.9").header("forwarded", "for=192.0.2.9");
        let tokens = call.send().await.tokens();
        let sessions = app.get("/sessions").bearer(&tokens.access).send().await.assert_status(200);
        let sessions = sessions.body["sessions"].as_array().unwrap().clone();
        let own = sessions.iter().find(|session| session["current"] == true).unwrap();
        assert_eq!(own["address"], address, "{forwarded} through {trusted:?}");
    }
}

/// A service that waits for nobody longer than it must.
fn impatient(config: &mut Config) {
    config.limits.request_timeout = Duration::from_secs(1);
    config.passwords.queue_deadline = Duration::from_millis(500);
}

/// The routes that take a body, each with one that it could understand.
fn doors() -> [(&'static str, Value); 6] {
    [
        ("/register", json!({ "email": "door@example.com", "password": "short" })),
        ("/login", json!({ "email": "door@example.com", "password": "short" })),
        ("/refresh", json!({ "refresh_token": "dwr_" })),
        ("/logout", json!({ "refresh_token": "dwr_" })),
        ("/me/password", json!({ "current_password": "a", "new_password": "b" })),
        ("/me/close", json!({ "password": "a" })),
    ]
}

/// Nothing of what was refused had an effect.
async fn unharmed(mut user: User<'_>) {
    user.me().await.assert_status(200);
    user.refresh().await.assert_status(200);
    assert_eq!(user.tokens.generation, 1);
    user.app.log_in("door@example.com", "short").await.assert_status(401);
    user.app.log_in(&user.email, PASSWORD).await.assert_status(200);
}

#[track_caller]
fn assert_guarded(answer: &Answer) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{}: {:?}", answer.status, answer.headers);
    }
    let is_kept = answer.header("cache-control").is_some_and(|it| it.starts_with("public"));
    assert!(!is_kept || answer.status < 400, "{:?}", answer.headers);
}

#[track_caller]
fn assert_no_permission(answer: &Answer, origin: &str) {
    let mut names = answer.headers.keys().map(reqwest::header::HeaderName::as_str);
    // What may be read of an answer is nothing as long as the answer may not.
    let permission = names.find(|name| name.starts_with("access-control-allow-"));
    assert_eq!(permission, None, "{origin}: {:?}", answer.headers);
}

/// The elements of a header that is a list, in lower case.
fn list(answer: &Answer, name: &str) -> BTreeSet<String> {
    let fields = answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
    fields.flat_map(|it| it.split(',')).map(|it| it.trim().to_ascii_lowercase()).collect()
}

/// The router's operations, as `GET /path/{parameter}`, read from its source.
fn router() -> BTreeSet<String> {
    let source = include_str!("../../src/http/routes.rs");
    let resources = source.split("web::resource(\"").skip(1);
    resources
        .flat_map(|resource| {
            let (path, rest) = resource.split_once('"').unwrap();
            let known = ["get", "post", "put", "patch", "delete"];
            let own = rest.split(".default_service").next().unwrap();
            let methods = known.iter().filter(|method| own.contains(&format!(".{method}(")));
            let methods: Vec<String> =
                methods.map(|method| format!("{} {path}", method.to_uppercase())).collect();
            assert!(!methods.is_empty(), "{path}");
            methods
        })
        .collect()
}

fn by_path(operations: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for operation in operations {
        let (method, path) = operation.split_once(' ').unwrap();
        paths.entry(path.to_owned()).or_default().insert(method.to_owned());
    }
    paths
}

/// A file of RFC 1952 whose blocks are stored as they are (RFC 1951 3.2.4).
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = content.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        file.push(u8::from(blocks.peek().is_none()));
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(block);
    }
    let checksum = content.iter().fold(!0_u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    });
    file.extend((!checksum).to_le_bytes());
    file.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    file
}
