//! Files in places where they do harm: logs beside the name of a new database, folders that every
//! user can write to, a secret that goes missing under the service.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::support::binary::{Doorward, data_of, doorward, give, home, printed, run, unlimited};
use crate::support::client::PASSWORD;
use crate::support::until;

const EMAIL: &str = "ada@example.com";

#[track_caller]
fn refused(command: &mut Command) -> String {
    let refusal = run(command);
    assert!(!refusal.status.success(), "{}", refusal.stderr);
    refusal.stderr
}

#[test]
fn no_backup_gets_a_name_beside_which_lie_the_logs_of_another_database() {
    let home = home();
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    let backup = || {
        let mut command = doorward(home.path());
        command.args(["db", "backup", "backup.db"]);
        command
    };
    for name in ["backup.db-wal", "backup.db-shm", "backup.db-journal"] {
        let beside = home.path().join(name);
        fs::write(&beside, "of another database").unwrap();
        let line = refused(&mut backup());
        assert!(line.contains(name) && line.contains("move them away"), "{line}");
        let names: Vec<_> =
            fs::read_dir(home.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        fs::remove_file(&beside).unwrap();
    }
    assert!(printed(&mut backup()).contains("checked"));
}

#[tokio::test]
async fn a_restored_backup_is_not_opened_with_the_log_of_the_database_before() {
    let home = home();
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    printed(doorward(home.path()).args(["db", "backup", "backup.db"]));
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    service.signal(Signal::KILL);
    let _ = service.ended();
    let (data, database) = (data_of(home.path()), data_of(home.path()).join("doorward.db"));
    fs::rename(home.path().join("backup.db"), &database).unwrap();
    let [kept, log] =
        [&database, &data.join("doorward.db-wal")].map(|file| fs::read(file).unwrap());
    for command in
        [&["serve"][..], &["db", "after-restore", "--yes"], &["db", "migrate"], &["user", "list"]]
    {
        let line = refused(doorward(home.path()).args(command));
        assert!(line.contains("the log of another database"), "{command:?}: {line}");
        assert!(fs::read(&database).unwrap() == kept, "{command:?}");
        assert!(fs::read(data.join("doorward.db-wal")).unwrap() == log, "{command:?}");
    }
    for ending in ["wal", "shm"] {
        fs::remove_file(database.with_extension(format!("db-{ending}"))).unwrap();
    }
    printed(doorward(home.path()).args(["db", "after-restore", "--yes"]));
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
}

#[test]
fn a_rollback_journal_without_its_database_is_never_overwritten() {
    let home = home();
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    let data = data_of(home.path());
    let journal = data.join("doorward.db-journal");
    fs::write(&journal, "what a transaction had changed").unwrap();
    give(&journal, home.path());
    fs::rename(data.join("doorward.db"), home.path().join("aside.db")).unwrap();
    for command in [&["serve"][..], &["db", "migrate"]] {
        let line = refused(doorward(home.path()).args(command));
        assert!(line.contains("doorward.db-journal"), "{line}");
        assert!(journal.exists() && !data.join("doorward.db").exists(), "{command:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_files_fills_no_log() {
    let home = home();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let log = fs::OpenOptions::new().write(true).open(data_of(home.path()).join("doorward.db-wal"));
    log.unwrap().set_len(0).unwrap();
    until(async || service.get("/readyz").send().await.status == 503).await;
    // Each of these would have its own line, and a background task reads ten times a second.
    for _ in 0..100 {
        service
            .register("eve@example.com", PASSWORD)
            .await
            .unwrap()
            .assert_problem(503, "unavailable");
    }
    let (_, _, log) = service.stop();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(lines.len() <= 3, "{lines:#?}");
    let fault = lines.iter().filter(|line| line.contains("nothing is written any more"));
    assert_eq!(fault.count(), 1, "{lines:#?}");
    assert!(lines.last().unwrap().contains("nothing is written any more"), "{lines:#?}");
}
