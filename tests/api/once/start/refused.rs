//! A start without its database, its port or its folder.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::secret::MasterSecret;

use crate::support::binary::{data_of, doorward, give, home};

use super::{Table, assert_says, assert_untouched, refused, secrets, used};

#[test]
fn postgresql_without_a_secret_is_refused_and_leaves_nothing() {
    let home = home();
    let url = "postgres://doorward:hunter2@127.0.0.1:1/doorward";
    let line = refused(doorward(home.path()).env("DOORWARD_DATABASE_URL", url));
    assert_says(&line, &["secret", "PostgreSQL", "DOORWARD_SECRET_FILE"]);
    let secret = MasterSecret::generate().to_text().to_string();
    let mut command = doorward(home.path());
    let line = refused(command.env("DOORWARD_DATABASE_URL", url).env("DOORWARD_SECRET", secret));
    assert_says(&line, &["cannot open the database"]);
    assert!(!line.contains("hunter2"), "a password in the log: {line}");
}

#[test]
fn a_port_in_use_is_refused_and_leaves_nothing() {
    let home = home();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = refused(doorward(home.path()).args(["--listen", &address]));
    assert_says(&line, &[&address, "in use", "--listen"]);
    assert_untouched(home.path());
}

#[test]
fn a_newer_schema_is_refused() {
    let home = used();
    let path = data_of(home.path()).join("doorward.db");
    let mut c = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    c.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')")
        .unwrap();
    drop(c);
    let before = secrets(home.path());
    let line = refused(&mut doorward(home.path()));
    assert_says(&line, &["29990101000000", "does not know", "newer"]);
    assert_eq!(secrets(home.path()), before);
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    let home = home();
    fs::write(home.path().join("file"), "").unwrap();
    let line = refused(doorward(home.path()).env("DOORWARD_DATA_DIR", "file/data"));
    assert_says(&line, &["data_dir", "file/data", "cannot be created", "can write to"]);
    // The superuser can always write.
    if fs::metadata(home.path()).unwrap().uid() != 0 {
        let data = data_of(home.path());
        fs::create_dir(&data).unwrap();
        give(&data, home.path());
        fs::set_permissions(&data, Permissions::from_mode(0o500)).unwrap();
        let line = refused(&mut doorward(home.path()));
        assert_says(&line, &[data.to_str().unwrap(), "ermission denied", "writable"]);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    }
}

#[test]
fn a_data_file_that_is_not_a_database_is_rejected_and_kept() {
    let home = used();
    let path = data_of(home.path()).join("doorward.db");
    // A log next to it, which a quick stop can leave, would still contain the database.
    remove_logs(&path);
    let text = "These are somebody's notes, and not a database.\n".repeat(1000);
    fs::write(&path, &text).unwrap();
    let line = refused(&mut doorward(home.path()));
    assert_says(&line, &["doorward.db", "not a database", "that it is a database"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_database_of_another_program_is_rejected_and_left_unchanged() {
    let home = used();
    let path = data_of(home.path()).join("doorward.db");
    fs::remove_file(&path).unwrap();
    remove_logs(&path);
    let mut c = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    give(&path, home.path());
    c.batch_execute("CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('eve')").unwrap();
    let line = refused(&mut doorward(home.path()));
    assert_says(&line, &["cannot migrate", "users already exists", "Doorward's own"]);
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
    let tables: Vec<Table> = diesel::sql_query(tables).load(&mut c).unwrap();
    assert_eq!(tables, [Table { name: "users".into() }]);
}

fn remove_logs(database: &Path) {
    for log in ["db-wal", "db-shm"] {
        let _ = fs::remove_file(database.with_extension(log));
    }
}
