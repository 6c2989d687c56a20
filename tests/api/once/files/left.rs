//! Files that an earlier service has left.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;

use crate::support::binary::{Doorward, data_of, doorward, give, home, unlimited};
use crate::support::client::PASSWORD;

use super::{EMAIL, refused};

#[tokio::test]
async fn a_log_without_its_database_is_never_overwritten() {
    let home = home();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    service.signal(Signal::KILL);
    let _ = service.ended();
    let data = data_of(home.path());
    let (database, log) = (data.join("doorward.db"), data.join("doorward.db-wal"));
    let kept = fs::read(&log).unwrap();
    assert!(!kept.is_empty());
    fs::rename(&database, home.path().join("aside")).unwrap();
    let commands: [&[&str]; 5] = [
        &["serve"],
        &["db", "migrate"],
        &["db", "check"],
        &["db", "backup", "backup.db"],
        &["db", "after-restore", "--yes"],
    ];
    for empty in [false, true] {
        if empty {
            fs::write(&database, "").unwrap();
            give(&database, home.path());
        }
        for command in commands {
            let line = refused(doorward(home.path()).args(command));
            assert!(line.contains("doorward.db-wal") && line.contains("put the database back"));
            assert_eq!(fs::read(&log).unwrap(), kept, "{command:?}");
            assert_eq!(database.exists(), empty, "{command:?}");
        }
    }
    fs::rename(home.path().join("aside"), &database).unwrap();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
}

#[test]
fn a_database_that_is_a_dangling_link_is_refused() {
    let home = home();
    fs::create_dir(data_of(home.path())).unwrap();
    give(&data_of(home.path()), home.path());
    let elsewhere = home.path().join("elsewhere.db");
    symlink(&elsewhere, data_of(home.path()).join("doorward.db")).unwrap();
    let line = refused(&mut doorward(home.path()));
    assert!(line.contains("symbolic link to a missing file"), "{line}");
    assert!(!elsewhere.exists());
}
