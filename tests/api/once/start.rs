//! Starting and stopping the real binary: rejected settings, start-up time, and the requests
//! answered during a stop.

mod draining;
mod ready;
mod refused;
mod secrets;
mod settings;

use std::fs;
use std::path::Path;
use std::process::Command;

use diesel::prelude::*;
use doorward::database::schema::signing_keys;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::support::binary::{Doorward, data_of, doorward, home, run};

#[derive(QueryableByName, Debug, PartialEq, Eq)]
struct Table {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
}

/// A data directory of an earlier run.
fn used() -> TempDir {
    let home = home();
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    home
}

/// The only line of a failed start.
#[track_caller]
fn refused(command: &mut Command) -> String {
    let refusal = run(command);
    assert!(refusal.status.code().is_some_and(|code| code != 0), "{refusal:?}");
    let lines: Vec<&str> = refusal.stderr.lines().collect();
    let [line] = lines[..] else { panic!("one line, not {}: {}", lines.len(), refusal.stderr) };
    assert!(line.starts_with("doorward: "), "{line}");
    line.to_owned()
}

#[track_caller]
fn assert_says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "it does not say `{word}`: {line}");
    }
}

#[track_caller]
fn assert_untouched(home: &Path) {
    assert!(!data_of(home).exists(), "a rejected start leaves no files");
}

/// The secret and the signing keys of a data directory.
fn secrets(home: &Path) -> (String, Vec<(String, Vec<u8>)>) {
    let data = data_of(home);
    let mut c = SqliteConnection::establish(data.join("doorward.db").to_str().unwrap()).unwrap();
    let keys = signing_keys::table.select((signing_keys::kid, signing_keys::sealed));
    (fs::read_to_string(data.join("secret")).unwrap(), keys.load(&mut c).unwrap())
}

pub fn request(method: &str, path: &str, bearer: &str, body: &str, keeps: bool) -> String {
    let (length, connection) = (body.len(), if keeps { "keep-alive" } else { "close" });
    format!(
        "{method} {path} HTTP/1.1\r\nhost: doorward.test\r\nauthorization: Bearer {bearer}\r\n\
         connection: {connection}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// One complete response; less when the connection ends before.
pub async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Some((_, length)) = head.split_once("content-length: ")
            && length.split("\r\n").next().unwrap().parse::<usize>().unwrap() <= body.len()
        {
            break;
        }
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => answer.extend_from_slice(&buffer[..read]),
            _ => break,
        }
    }
    String::from_utf8(answer).unwrap()
}
