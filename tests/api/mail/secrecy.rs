//! Neither the database, a backup nor the log contains a token or a code.

use std::fs;
use std::path::Path;

use diesel::prelude::*;
use doorward::database::AnyConnection;
use serde_json::json;

use super::NEW_PASSWORD;
use super::program::{connect, messages, waiting, with_verification};
use crate::support::binary::{Doorward, data_of, database_of, doorward, home, printed};
use crate::support::client::PASSWORD;
use crate::support::mailbox::request_of;
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
    if database_of(home.path()).is_none() {
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
            assert!(!bytes.windows(piece.len()).any(|it| it == piece), "{secret} is in {place}");
        }
    }
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
