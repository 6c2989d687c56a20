//! Neither the database, a backup nor the log contains a token or a code.

use std::fs;
use std::path::Path;
use std::process::Command;

use diesel::prelude::*;
use doorward::database::AnyConnection;
use serde_json::json;

use super::NEW_PASSWORD;
use super::program::{connect, messages, waiting, with_verification};
use crate::support::binary::{Doorward, data_of, database_of, doorward, home, printed};
use crate::support::client::PASSWORD;
use crate::support::mailbox::request_of;
use crate::support::postgres::binaries;
use crate::support::until;

#[tokio::test]
async fn database_backups_and_log_contain_no_token_and_no_code() {
    let home = home();
    let mut command = with_verification(home.path());
    command.env("DOORWARD_LOG__LEVEL", "trace");
    let service = Doorward::start(&mut command);
    let mut secrets = Vec::new();
    let body = json!({ "email": "ada@example.com", "password": PASSWORD });
    let request = request_of(service.post("/register", &body).await.unwrap());
    until(async || messages(home.path()).len() == 1).await;
    let code = messages(home.path())[0].code();
    let body = json!({ "request": request, "code": code });
    service.post("/register/confirm", &body).await.unwrap().assert_status(201);
    secrets.extend([request, code.clone(), code.replace('-', "")]);
    let body = json!({ "email": "ada@example.com" });
    let request = request_of(service.post("/password/forgot", &body).await.unwrap());
    until(async || messages(home.path()).len() == 2).await;
    until(async || waiting(home.path()) == 0).await;
    let all = messages(home.path());
    let reset = all.iter().find(|message| message.text.contains("dwm_")).unwrap();
    secrets.extend([request, reset.token(), reset.code(), reset.code().replace('-', "")]);
    let body = json!({ "token": reset.token(), "password": NEW_PASSWORD });
    service.post("/password/reset", &body).await.unwrap().assert_status(200);

    let mut places = vec![(String::from("the row"), rows_as_text(home.path()).into_bytes())];
    if let Some(url) = database_of(home.path()) {
        places.extend(copies_of(&url));
    } else {
        printed(doorward(home.path()).args(["db", "backup", "backup.db"]));
        places.push((String::from("backup"), fs::read(home.path().join("backup.db")).unwrap()));
        for entry in fs::read_dir(data_of(home.path())).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                places.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    let (status, out, log) = service.stop();
    assert!(status.success());
    assert!(log.contains("message written to a file"), "the log names the file");
    places.extend([(String::from("out"), out.into()), (String::from("log"), log.into())]);
    for secret in &secrets {
        // The prefix alone is not a secret.
        let piece = secret.trim_start_matches("dwq_").trim_start_matches("dwm_").as_bytes();
        let piece = &piece[..piece.len().min(20)];
        for (place, bytes) in &places {
            assert!(!contains(bytes, piece), "{secret} is in {place}");
        }
    }
}

/// A dump of a PostgreSQL database, and the files in which the server stores it.
fn copies_of(url: &str) -> Vec<(String, Vec<u8>)> {
    #[derive(QueryableByName)]
    struct Place {
        #[diesel(sql_type = diesel::sql_types::Text)]
        folder: String,
    }
    let dump = Command::new(binaries().join("pg_dump")).args(["--inserts", url]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let mut copies = vec![(String::from("the dump"), dump.stdout)];
    let mut connection = PgConnection::establish(url).unwrap();
    diesel::sql_query("CHECKPOINT").execute(&mut connection).unwrap();
    let place: Place = diesel::sql_query(
        "SELECT current_setting('data_directory') || '/base/' || oid AS folder FROM pg_database \
         WHERE datname = current_database()",
    )
    .get_result(&mut connection)
    .unwrap();
    for entry in fs::read_dir(place.folder).unwrap() {
        let path = entry.unwrap().path();
        copies.push((path.display().to_string(), fs::read(&path).unwrap()));
    }
    for part in ["ada@example.com", "mail_requests"] {
        let has_part = |(_, bytes): &(String, Vec<u8>)| contains(bytes, part.as_bytes());
        assert!(copies.iter().filter(|copy| has_part(copy)).count() > 1, "{part} is in them");
    }
    copies
}

fn contains(bytes: &[u8], piece: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == piece[0]) {
        if rest[at..].starts_with(piece) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Every row of the table as text.
fn rows_as_text(home: &Path) -> String {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = diesel::sql_types::Text)]
        line: String,
    }
    let (sqlite, postgres) = (
        "SELECT concat_ws(' ', id, purpose, message, address, address_key, network, device, detail,
             locale, outcome) AS line FROM mail_requests",
        "SELECT t::text AS line FROM mail_requests t",
    );
    let lines: Vec<Line> = match connect(home) {
        AnyConnection::Sqlite(mut c) => diesel::sql_query(sqlite).load(&mut c).unwrap(),
        AnyConnection::Postgres(mut c) => diesel::sql_query(postgres).load(&mut c).unwrap(),
    };
    lines.into_iter().map(|it| it.line + "\n").collect()
}
