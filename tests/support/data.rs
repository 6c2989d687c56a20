//! `doorward db`, and databases for it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use doorward::database::AnyConnection;
use tempfile::TempDir;

use crate::support::Tokens;
use crate::support::binary::{Doorward, data_of, database_of, doorward, unlimited};
use crate::support::client::PASSWORD;

pub const EMAIL: &str = "ada@example.com";

/// Enough that a copy takes a while, in a build without optimisation.
pub const MANY: i32 = 6000;

/// Exit status, standard output, standard error.
pub type Outcome = (i32, String, String);

pub fn outcome(command: &mut std::process::Command) -> Outcome {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().expect("it exits"), text(stdout), text(stderr))
}

pub fn db(home: &Path, arguments: &[&str]) -> Outcome {
    outcome(doorward(home).arg("db").args(arguments))
}

pub fn copy(home: &Path, from: &str, to: &str, options: &[&str]) -> Outcome {
    db(home, &[&["copy", "--from", from, "--to", to], options].concat())
}

/// The home of a database with empty tables.
pub fn migrated() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let (status, _, complaint) = db(home.path(), &["migrate"]);
    assert_eq!(status, 0, "{complaint}");
    home
}

/// A user who is logged in at a service that was stopped afterwards.
pub async fn used(home: &Path) -> Tokens {
    log_in_and_stop(Doorward::start(&mut unlimited(home))).await
}

pub async fn log_in_and_stop(service: Doorward) -> Tokens {
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    assert!(service.stop().0.success());
    tokens
}

/// The database of a service in `home`.
pub fn url_of(home: &Path) -> String {
    let file = || format!("sqlite://{}", data_of(home).join("doorward.db").display());
    database_of(home).unwrap_or_else(file)
}

pub fn connect(url: &str) -> AnyConnection {
    match url.strip_prefix("sqlite://") {
        Some(path) => AnyConnection::Sqlite(SqliteConnection::establish(path).unwrap()),
        None => AnyConnection::Postgres(PgConnection::establish(url).unwrap()),
    }
}

pub fn number(connection: &mut AnyConnection, query: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Number {
        #[diesel(sql_type = BigInt)]
        value: i64,
    }
    diesel::sql_query(query).get_result::<Number>(connection).unwrap().value
}

/// Many users with a session each.
pub fn fill(url: &str) {
    let mut c = connect(url);
    let id = |prefix: &str| match c {
        AnyConnection::Sqlite(_) => format!("printf('{prefix}-0000-7000-8000-%012x', i)"),
        AnyConnection::Postgres(_) => {
            format!("('{prefix}-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid")
        }
    };
    let (user, session) = (id("019aaaaa"), id("019bbbbb"));
    let hash = match c {
        AnyConnection::Sqlite(_) => "zeroblob(32)",
        AnyConnection::Postgres(_) => "decode(repeat('00', 32), 'hex')",
    };
    let numbers =
        format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY})");
    c.batch_execute(&format!(
        "INSERT INTO users
             (id, email, email_key, password_hash, created_at, password_changed_at)
             {numbers} SELECT {user}, 'Ä' || i, 'ä' || i, 'none', i, -i FROM n;
         INSERT INTO sessions
             (id, user_id, client_id, family_hash, generation, retry_keys, created_at, last_seen_at,
              expires_at, ends_at)
             {numbers} SELECT {session}, {user}, 'doorward', {hash}, i, {hash}, i, i, i, i FROM n;"
    ))
    .unwrap();
}

/// Starts a copy and kills it when it reports this progress.
pub fn kill_copy(home: &Path, from: &str, to: &str, moment: &str) {
    let mut command = doorward(home);
    command.args(["db", "copy", "--from", from, "--to", to]);
    let mut copying = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(copying.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<String> = lines.take_while(|line| !line.starts_with(moment)).collect();
    copying.kill().unwrap();
    let status = copying.wait().unwrap();
    assert_eq!(status.code(), None, "it ended before {moment}: {said:?}");
}

pub fn assert_empty(url: &str) {
    let mut c = connect(url);
    for table in ["users", "sessions", "blocklist", "signing_keys", "audit_events"] {
        let count = number(&mut c, &format!("SELECT count(*) AS value FROM {table}"));
        assert_eq!(count, 0, "{table}");
    }
}
