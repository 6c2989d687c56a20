//! Commands that only read leave SQLite's files unchanged: after a crash, after a stop, during a
//! running service, and in a directory that they cannot write to.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use diesel::connection::SimpleConnection as _;
use rustix::process::Signal;

use crate::support::binary::{Doorward, data_of, doorward, home_of, unlimited, users};
use crate::support::client::PASSWORD;
use crate::support::data::connect;

const EMAIL: &str = "ada@example.com";

const READING: [&[&str]; 10] = [
    &["doctor"],
    &["db", "check"],
    &["user", "list"],
    &["user", "show", EMAIL],
    &["session", "list", "--user", EMAIL],
    &["client", "list"],
    &["key", "list"],
    &["audit"],
    &["audit", "--user", EMAIL, "--since", "1d"],
    &["db", "backup", "../backup.db"],
];

/// Each file's bytes and modification time.
type Files = BTreeMap<String, (Vec<u8>, (i64, i64))>;

fn files(data: &Path) -> Files {
    let entries = fs::read_dir(data).unwrap().map(Result::unwrap);
    let file = |entry: fs::DirEntry| {
        let about = entry.metadata().unwrap();
        let written = (about.mtime(), about.mtime_nsec());
        let name = entry.file_name().into_string().unwrap();
        (name, (fs::read(entry.path()).unwrap(), written))
    };
    entries.map(file).collect()
}

/// Runs each command in the data folder, and requires the account to be seen and no file changed.
fn read_everything(home: &Path, state: &str, compared: fn(&str) -> bool) {
    let data = data_of(home);
    let kept =
        |files: Files| -> Files { files.into_iter().filter(|(name, _)| compared(name)).collect() };
    let before = kept(files(&data));
    for arguments in READING {
        let output = doorward(home).current_dir(&data).args(arguments).output().unwrap();
        let [said, complaint] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        let what = format!("{state}: {arguments:?}: {said}{complaint}");
        if *arguments == ["doctor"] {
            assert!(!said.contains("cannot"), "{what}");
        } else {
            assert!(output.status.success(), "{what}");
        }
        if *arguments == ["user", "list"] {
            assert!(said.contains(EMAIL), "{what}");
        }
        let after = kept(files(&data));
        let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "{what}");
        for (name, file) in &before {
            assert!(after[name] == *file, "{what}: {name} was changed");
        }
        let _ = fs::remove_file(home.join("backup.db"));
    }
}

#[tokio::test]
async fn commands_that_only_read_change_no_file() {
    for user in users() {
        let home = home_of(user);
        let (home, data) = (home.path(), data_of(home.path()));
        let close = |mode| fs::set_permissions(&data, Permissions::from_mode(mode)).unwrap();
        let service = Doorward::start(&mut unlimited(home));
        service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
        service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
        read_everything(home, "beside a running service", |name| name != "doorward.db-shm");
        service.signal(Signal::KILL);
        let _ = service.ended();
        assert!(fs::metadata(data.join("doorward.db-wal")).unwrap().len() > 0);
        read_everything(home, "after a crash", |_| true);
        close(0o500);
        read_everything(home, "after a crash, in a folder of mode 500", |_| true);
        close(0o700);

        let service = Doorward::start(&mut unlimited(home));
        service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
        assert!(service.stop().0.success());
        // The last connection removes the log, unless the service's own connection stayed open.
        let mut other = connect(&format!("sqlite://{}", data.join("doorward.db").display()));
        other.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        drop(other);
        assert!(!data.join("doorward.db-wal").exists());
        read_everything(home, "after a stop", |_| true);
        close(0o500);
        read_everything(home, "after a stop, in a folder of mode 500", |_| true);
        close(0o700);
    }
}

#[test]
fn a_command_that_only_reads_applies_no_migration() {
    let home = home_of(users()[0]);
    let home = home.path();
    assert!(Doorward::start(&mut doorward(home)).stop().0.success());
    let file = data_of(home).join("doorward.db");
    let mut other = connect(&format!("sqlite://{}", file.display()));
    let forget = "DELETE FROM __diesel_schema_migrations
                  WHERE version = (SELECT max(version) FROM __diesel_schema_migrations);
                  PRAGMA wal_checkpoint(TRUNCATE)";
    other.batch_execute(forget).unwrap();
    drop(other);
    let before = files(&data_of(home));
    let output = doorward(home).args(["user", "list"]).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && complaint.contains("doorward db migrate"), "{complaint}");
    assert!(files(&data_of(home)) == before);
}
