//! The real program, whose messages are files.

use std::fs;
use std::path::Path;
use std::process::Command;

use diesel::prelude::*;
use doorward::database::AnyConnection;
use doorward::database::schema::mail_requests as table;

use crate::support::binary::{data_of, database_of, unlimited};
use crate::support::mailbox::Message;

/// A service that writes messages to files.
pub(super) fn with_files(home: &Path) -> Command {
    let mut command = unlimited(home);
    command.env("DOORWARD_EMAIL__URL", "file:");
    command
}

/// The same, and registrations must prove their addresses.
pub(super) fn with_verification(home: &Path) -> Command {
    let mut command = with_files(home);
    command.env("DOORWARD_ACCOUNTS__VERIFICATION", "required");
    command
}

pub(super) fn connect(home: &Path) -> AnyConnection {
    if let Some(url) = database_of(home) {
        return AnyConnection::Postgres(PgConnection::establish(&url).unwrap());
    }
    let path = data_of(home).join("doorward.db");
    let mut c = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    diesel::sql_query("PRAGMA busy_timeout = 5000").execute(&mut c).unwrap();
    AnyConnection::Sqlite(c)
}

/// The number of requests without an outcome.
pub(super) fn waiting(home: &Path) -> i64 {
    let waiting = table::table.filter(table::outcome.is_null());
    waiting.count().get_result(&mut connect(home)).unwrap()
}

/// The messages that were written, in no particular order.
pub(super) fn messages(home: &Path) -> Vec<Message> {
    let Ok(folder) = fs::read_dir(data_of(home).join("outbox")) else { return Vec::new() };
    let files = folder.map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|it| it == "eml"));
    files.map(|path| Message::parse(&fs::read_to_string(path).unwrap())).collect()
}
