//! Harmful states of directories: logs next to a new database, directories that every user can
//! write to, a secret that disappears while the service runs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::support::binary::{
    Doorward, as_owner_of, data_of, doorward, give, home, printed, run, unlimited,
};
use crate::support::client::PASSWORD;
use crate::support::program::free_port;
use crate::support::until;

const EMAIL: &str = "ada@example.com";

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn refused(command: &mut Command) -> String {
    let refusal = run(command);
    assert!(!refusal.status.success(), "{}", refusal.stderr);
    refusal.stderr
}

#[test]
fn a_backup_is_refused_next_to_the_logs_of_another_database() {
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
async fn a_restored_backup_is_not_opened_with_the_log_of_the_replaced_database() {
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

#[test]
fn a_folder_that_every_user_can_write_to_is_refused() {
    let home = home();
    let data = data_of(home.path());
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    let doctor = || {
        let output = doorward(home.path()).arg("doctor").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for mode in [0o777, 0o757, 0o2777, 0o702] {
        chmod(&data, mode);
        for command in [&["serve"][..], &["user", "list"], &["db", "migrate"], &["key", "list"]] {
            let line = refused(doorward(home.path()).args(command));
            let folder = format!("chmod 700 {}", data.display());
            assert!(line.contains("can write to the folder") && line.contains(&folder), "{line}");
        }
        let found = doctor();
        assert!(found.contains("data_dir: every user of this machine can write"), "{found}");
        assert_eq!(found.matches("can write to the folder").count(), 1, "{found}");
    }
    // Each user can replace their own files only.
    chmod(&data, 0o1777);
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    chmod(&data, 0o770);
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
}

#[test]
fn a_database_in_a_folder_of_its_own_that_every_user_can_write_to_is_refused() {
    let home = home();
    let (folder, secret) = (home.path().join("elsewhere"), home.path().join("given"));
    fs::create_dir(&folder).unwrap();
    give(&folder, home.path());
    fs::write(&secret, printed(doorward(home.path()).args(["secret", "new"]))).unwrap();
    give(&secret, home.path());
    chmod(&secret, 0o600);
    let url = format!("sqlite://{}", folder.join("doorward.db").display());
    let command = || {
        let mut command = doorward(home.path());
        command.env("DOORWARD_DATABASE_URL", &url).env("DOORWARD_SECRET_FILE", &secret);
        command
    };
    chmod(&folder, 0o777);
    let line = refused(&mut command());
    assert!(line.contains("can write to the folder") && !folder.join("doorward.db").exists());
    chmod(&folder, 0o700);
    assert!(Doorward::start(&mut command()).stop().0.success());
    chmod(&folder, 0o777);
    let found = command().arg("doctor").output().unwrap().stdout;
    let found = String::from_utf8(found).unwrap();
    assert!(found.contains("database: every user of this machine can write"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_file_that_vanishes_under_the_service_is_reported_and_ends_nothing() {
    let home = home();
    let page = format!("127.0.0.1:{}", free_port());
    let mut command = unlimited(home.path());
    command.env("DOORWARD_METRICS__ENABLED", "true").env("DOORWARD_METRICS__LISTEN", &page);
    let service = Doorward::start(&mut command);
    let says = async |line: &str| {
        let metrics = service.http.get(format!("http://{page}/metrics")).send().await.unwrap();
        metrics.text().await.unwrap().lines().any(|it| it == line)
    };
    assert!(says("doorward_secret_file_missing 0").await);
    let (secret, aside) = (data_of(home.path()).join("secret"), home.path().join("aside"));
    for changed in [false, true] {
        fs::rename(&secret, &aside).unwrap();
        if changed {
            fs::write(&secret, printed(doorward(home.path()).args(["secret", "new"]))).unwrap();
            give(&secret, home.path());
        }
        until(async || says("doorward_secret_file_missing 1").await).await;
        service.get("/readyz").send().await.assert_status(200);
        let email = format!("{changed}@example.com");
        service.register(&email, PASSWORD).await.unwrap().assert_status(201);
        fs::rename(&aside, &secret).unwrap();
        until(async || says("doorward_secret_file_missing 0").await).await;
    }
    let (status, _, log) = service.stop();
    assert!(status.success());
    let reports = log.lines().filter(|line| line.contains("without it no start succeeds"));
    assert_eq!(reports.count(), 2, "{log}");
}

#[test]
fn a_start_that_may_not_migrate_creates_no_database() {
    let home = home();
    let mut command = doorward(home.path());
    let line = refused(command.env("DOORWARD_DATABASE__MIGRATE", "false"));
    assert!(
        line.contains("doorward.db does not exist") && line.contains("doorward db migrate"),
        "{line}"
    );
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    printed(doorward(home.path()).args(["db", "migrate"]));
    assert!(Doorward::start(&mut command).stop().0.success());
}

#[test]
fn a_password_file_that_every_user_can_read_is_refused() {
    let home = home();
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    let file = home.path().join("password");
    fs::write(&file, PASSWORD).unwrap();
    give(&file, home.path());
    let add = |file: &str| {
        let mut command = doorward(home.path());
        command.args(["user", "add", EMAIL, "--password-file", file]);
        command
    };
    for mode in [0o644, 0o604, 0o602] {
        chmod(&file, mode);
        let line = refused(&mut add("password"));
        assert!(line.contains("--password-file") && line.contains("chmod 600"), "{line}");
    }
    chmod(&file, 0o640);
    printed(&mut add("password"));
    // A pipe has no other reader.
    let mut shell = Command::new("sh");
    let set = format!("cat password | \"$0\" user set-password {EMAIL} --password-file /dev/stdin");
    shell.args(["-c", &set]).arg(crate::support::binary::program());
    shell.env_clear().env("PATH", "/usr/bin:/bin").env("DOORWARD_DATA_DIR", data_of(home.path()));
    as_owner_of(home.path(), &mut shell);
    printed(shell.current_dir(home.path()));
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
    let fault = lines.iter().filter(|line| line.contains("writes are rejected from now on"));
    assert_eq!(fault.count(), 1, "{lines:#?}");
    assert!(lines.last().unwrap().contains("writes are rejected from now on"), "{lines:#?}");
}
