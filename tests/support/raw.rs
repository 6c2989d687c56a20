//! Raw HTTP, for requests that no client library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::Answer;
use super::{TestApp, contract};

/// Sends bytes and reads until the server closes the connection, or has been silent for `patience`.
pub async fn exchange(app: &TestApp, request: &[u8], patience: Duration) -> String {
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(read)) = tokio::time::timeout(patience, stream.read(&mut buffer)).await {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends one request on its own connection and checks the response against `openapi.yaml`.
///
/// # Panics
/// When the response is incomplete.
pub async fn send(app: &TestApp, request: impl AsRef<[u8]>) -> Answer {
    let request = request.as_ref();
    let text = exchange(app, request, Duration::from_secs(2)).await;
    let mut line = request.split(|byte| *byte == b' ').map(String::from_utf8_lossy);
    let (method, path) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
    read(&method, &path, &text)
}

/// Parses a response's text, and checks it against `openapi.yaml`.
///
/// # Panics
/// When it is incomplete.
#[track_caller]
pub fn read(method: &str, path: &str, text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("cut off: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
    let status = status.parse().expect("a status");
    let fields = lines.map(|line| line.split_once(": ").expect("a header field"));
    let headers =
        fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    contract::check(method, path, status, &headers, body.as_bytes());
    let (text, body) = (body.to_owned(), serde_json::from_str(body).unwrap_or_default());
    Answer { status, headers, body, text }
}

/// Reads the remaining bytes until the server closes the connection; `None` when it does not do so
/// in time.
pub async fn until_closed(stream: &mut TcpStream, within: Duration) -> Option<String> {
    let mut answer = Vec::new();
    let end = tokio::time::timeout(within, stream.read_to_end(&mut answer)).await;
    // A reset is an end too: the server has closed with unread data.
    end.is_ok().then(|| String::from_utf8_lossy(&answer).into_owned())
}
