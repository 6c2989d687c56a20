//! Answers to unparsable requests have the headers that every answer has.

use crate::support::jar::HTTPS;
use crate::support::{TestApp, raw};

#[tokio::test]
async fn an_unparsable_request_gets_the_headers_of_every_answer() {
    let app = TestApp::with(|config| config.public_url = HTTPS.into()).await;
    let usual = raw::send(&app, "GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let usual = usual.await.assert_problem(404, "not_found");
    assert!(usual.header("strict-transport-security").is_some());
    for odd in
        ["GET / HTTP/9\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", "\r\n x\r\n\r\n"]
    {
        let refused = raw::send(&app, odd).await.assert_status(400);
        for name in usual.headers.keys() {
            // CORS is for pages, and no page can send this.
            let is_cors = name == "vary" || name.as_str().starts_with("access-control-");
            let is_there = refused.headers.contains_key(name);
            assert!(is_there || is_cors, "{odd:?} has no {name}: {}", refused.text);
        }
        let policy = |answer: &crate::support::Answer| {
            answer.header("strict-transport-security").map(str::to_owned)
        };
        assert_eq!(policy(&refused), policy(&usual));
        let date = refused.header("date").unwrap();
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    }
    let plain = TestApp::start().await;
    let refused = raw::send(&plain, "GET / HTTP/9\r\n\r\n").await.assert_status(400);
    assert!(refused.header("strict-transport-security").is_none(), "RFC 6797 7.2");
}
