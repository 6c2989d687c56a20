//! Files that vanish, are replaced, or lie open to others: what is noticed, and what is refused.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use doorward::clock::Clock;
use rustix::process::Signal;

use crate::support::binary::{
    Doorward, as_owner_of, data_of, doorward, give, home, run, unlimited,
};
use crate::support::client::PASSWORD;
use crate::support::until;

const EMAIL: &str = "ada@example.com";

/// What is done to the files of a running service.
type Harm = fn(&Path);

const HARMS: [(&str, Harm); 8] = [
    ("deleted", |data| fs::remove_dir_all(data).unwrap()),
    ("deleted", |data| fs::rename(data, data.with_extension("away")).unwrap()),
    ("deleted", |data| fs::rename(data.join("doorward.db"), data.join("away")).unwrap()),
    ("deleted", |data| fs::remove_file(data.join("doorward.db-wal")).unwrap()),
    ("deleted", |data| fs::remove_file(data.join("doorward.db-shm")).unwrap()),
    ("replaced", |data| {
        fs::copy(data.join("doorward.db"), data.join("copy")).unwrap();
        fs::rename(data.join("copy"), data.join("doorward.db")).unwrap();
    }),
    ("truncated", |data| truncate(&data.join("doorward.db"))),
    ("truncated", |data| truncate(&data.join("doorward.db-wal"))),
];

fn truncate(file: &Path) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_vanish_under_a_running_service_end_its_writes_and_are_reported_once() {
    for (n, (word, harm)) in HARMS.into_iter().enumerate() {
        let home = home();
        let service = Doorward::start(&mut unlimited(home.path()));
        service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
        let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
        service.get("/readyz").send().await.assert_status(200);
        harm(&data_of(home.path()));
        let clock = Clock::system();
        let harmed_at = clock.monotonic();
        until(async || service.get("/readyz").send().await.status == 503).await;
        let noticed_after = clock.monotonic() - harmed_at;
        assert!(noticed_after < Duration::from_secs(3), "{n}: {noticed_after:?}");
        let unready = service.get("/readyz").send().await.assert_problem(503, "not_ready");
        assert!(unready.text.contains(word), "{n}: {}", unready.text);
        let refused = service.register("eve@example.com", PASSWORD).await.unwrap();
        let refused = refused.assert_problem(503, "unavailable");
        assert_eq!(refused.body["transient"], true, "{n}");
        assert!(refused.header("retry-after").is_some(), "{n}");
        let unheard = service.log_out(&tokens.access).await.unwrap();
        unheard.assert_problem(503, "unavailable");
        let (_, _, log) = service.stop();
        let lines = log.lines().filter(|line| line.contains("nothing is written any more"));
        assert_eq!(lines.count(), 1, "{n}: {log}");
    }
}

#[tokio::test]
async fn writes_after_the_files_vanished_are_not_acknowledged() {
    let home = home();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    fs::remove_dir_all(data_of(home.path())).unwrap();
    let refused = service.register("eve@example.com", PASSWORD).await.unwrap();
    refused.assert_problem(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_and_a_vacuum_of_another_process_end_nothing() {
    use diesel::connection::SimpleConnection as _;
    let home = home();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let file = data_of(home.path()).join("doorward.db");
    let mut other = crate::support::data::connect(&format!("sqlite://{}", file.display()));
    let ballast = "CREATE TABLE ballast (x BLOB); INSERT INTO ballast VALUES (zeroblob(1000000));
                PRAGMA wal_checkpoint(TRUNCATE)";
    other.batch_execute(ballast).unwrap();
    let before = fs::metadata(&file).unwrap().len();
    // Each of the two has been seen by the service before the next comes.
    service.register("eve@example.com", PASSWORD).await.unwrap().assert_status(201);
    other.batch_execute("DROP TABLE ballast; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert!(fs::metadata(&file).unwrap().len() < before, "it is shorter");
    let home = home.path();
    let backup = doorward(home).args(["db", "backup", "backup.db"]).status().unwrap();
    assert!(backup.success());
    for n in 0..3 {
        let email = format!("n{n}@example.com");
        service.register(&email, PASSWORD).await.unwrap().assert_status(201);
    }
    service.get("/readyz").send().await.assert_status(200);
}

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
fn a_database_that_is_a_link_to_nothing_is_refused() {
    let home = home();
    fs::create_dir(data_of(home.path())).unwrap();
    give(&data_of(home.path()), home.path());
    let elsewhere = home.path().join("elsewhere.db");
    symlink(&elsewhere, data_of(home.path()).join("doorward.db")).unwrap();
    let line = refused(&mut doorward(home.path()));
    assert!(line.contains("symbolic link to a file that is not there"), "{line}");
    assert!(!elsewhere.exists());
}

#[test]
fn a_secret_that_every_user_can_read_is_refused_with_how_to_close_it() {
    let home = home();
    let file = home.path().join("given");
    let secret = doorward(home.path()).args(["secret", "new"]).output().unwrap().stdout;
    fs::write(&file, &secret).unwrap();
    give(&file, home.path());
    let toml = home.path().join("doorward.toml");
    let text = format!("secret = \"{}\"\n", String::from_utf8_lossy(&secret).trim());
    for mode in [0o644, 0o604, 0o602] {
        chmod(&file, mode);
        for name in ["DOORWARD_SECRET_FILE", "DOORWARD_PREVIOUS_SECRET_FILE"] {
            let line = refused(doorward(home.path()).env(name, &file));
            assert!(line.contains("chmod 600") && line.contains("defaultMode: 0440"), "{line}");
        }
        fs::write(&toml, &text).unwrap();
        give(&toml, home.path());
        chmod(&toml, mode);
        let line = refused(&mut doorward(home.path()));
        // A file that others can write to is refused for that.
        let remedy = if mode == 0o602 { "--config" } else { "chmod 600" };
        assert!(line.contains("doorward.toml") && line.contains(remedy), "{line}");
        fs::remove_file(&toml).unwrap();
    }
    chmod(&file, 0o640);
    let mut command = doorward(home.path());
    assert!(Doorward::start(command.env("DOORWARD_SECRET_FILE", &file)).stop().0.success());
    let (data, database) = (data_of(home.path()), data_of(home.path()).join("doorward.db"));
    chmod(&database, 0o644);
    assert!(Doorward::start(&mut command).stop().0.success(), "its folder is closed");
    chmod(&data, 0o755);
    let line = refused(&mut command);
    assert!(line.contains("every user of this machine can open"), "{line}");
}

#[test]
fn nothing_is_copied_into_a_file_that_every_user_can_read() {
    let home = home();
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    let target = home.path().join("target.db");
    fs::write(&target, "").unwrap();
    give(&target, home.path());
    chmod(home.path(), 0o755);
    let copy = || {
        let mut command = doorward(home.path());
        let from = format!("sqlite://{}", data_of(home.path()).join("doorward.db").display());
        let to = format!("sqlite://{}", target.display());
        command.args(["db", "copy", "--from", &from, "--to", &to]);
        command
    };
    chmod(&target, 0o644);
    let output = copy().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("every user of this machine"), "{said}");
    assert_eq!(fs::metadata(&target).unwrap().len(), 0);
    chmod(&target, 0o640);
    assert!(copy().status().unwrap().success());
}

#[test]
fn created_files_are_private_with_every_umask() {
    let home = home();
    let (data, backup) = (data_of(home.path()), home.path().join("backup.db"));
    let service = Doorward::start(&mut without_umask(&mut doorward(home.path())));
    let mut command = doorward(home.path());
    command.args(["db", "backup", "backup.db"]);
    assert!(without_umask(&mut command).status().unwrap().success());
    assert_eq!(mode(&data), 0o700);
    let mut names = Vec::new();
    for file in fs::read_dir(&data).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["doorward.db", "doorward.db-shm", "doorward.db-wal", "secret"]);
    assert_eq!(mode(&backup), 0o600);
    drop(service);
}

#[test]
fn a_network_that_is_everybody_is_not_a_proxy() {
    let home = home();
    for net in ["0.0.0.0/0", "::/0", "0.0.0.0/1,128.0.0.0/1", "10.0.0.0/7", "2000::/3"] {
        let line = refused(doorward(home.path()).env("DOORWARD_TRUSTED_PROXIES", net));
        assert!(line.contains("trusted_proxies") && line.contains("is everybody"), "{line}");
    }
}

#[test]
fn a_password_in_a_url_is_never_repeated() {
    let home = home();
    for url in [
        "postgres://doorward:hunter2/x@127.0.0.1:1/d",
        "postgres://doorward:hunter2@x@127.0.0.1:1/d",
        "postgres://doorward:hunter2?x@127.0.0.1:1/d",
        "postgres://doorward:hunter2%zz@127.0.0.1:1/d",
        "postgres://doorward:x hunter2@127.0.0.1:1/d",
        "postgres://doorward:1/hunter2@127.0.0.1:1/d",
    ] {
        let setting = format!("database_url={url}");
        let ways: [&[&str]; 4] = [
            &["serve", "--database-url", url],
            &["user", "list", "--database-url", url],
            &["db", "check", "--set", &setting],
            &["db", "copy", "--from", url, "--to", url],
        ];
        for way in ways {
            let line = refused(doorward(home.path()).args(way));
            assert!(!line.contains("hunter2"), "{line}");
            assert!(line.contains("percent-encode") && line.contains("PGPASSWORD"), "{line}");
        }
    }
    let toml = home.path().join("doorward.toml");
    fs::write(&toml, "secret = 8675309\n").unwrap();
    give(&toml, home.path());
    let line = refused(&mut doorward(home.path()));
    assert!(line.contains("it is not text") && !line.contains("8675309"), "{line}");
}

fn without_umask(command: &mut Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 0; exec \"$0\" \"$@\""]).arg(command.get_program());
    shell.args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let home = command.get_current_dir().unwrap();
    as_owner_of(home, &mut shell);
    shell.current_dir(home);
    shell
}

#[track_caller]
fn refused(command: &mut Command) -> String {
    let refusal = run(command);
    assert!(!refusal.status.success(), "{}", refusal.stderr);
    refusal.stderr
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
