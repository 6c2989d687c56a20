//! Permissions of files, and secrets in settings.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::binary::{
    Doorward, as_owner_of, data_of, doorward, give, home, home_of, users,
};

use super::refused;

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
        // A file that others can write to is rejected for that.
        let remedy = if mode == 0o602 { "--config" } else { "chmod 600" };
        assert!(line.contains("doorward.toml") && line.contains(remedy), "{line}");
        fs::remove_file(&toml).unwrap();
    }
    chmod(&file, 0o640);
    let mut command = doorward(home.path());
    assert!(Doorward::start(command.env("DOORWARD_SECRET_FILE", &file)).stop().0.success());
    let (data, database) = (data_of(home.path()), data_of(home.path()).join("doorward.db"));
    chmod(&database, 0o644);
    assert!(Doorward::start(&mut command).stop().0.success(), "its directory is closed");
    chmod(&data, 0o755);
    let line = refused(&mut command);
    assert!(line.contains("every user of this machine can open"), "{line}");
}

#[test]
fn a_command_of_a_user_without_permission_does_not_say_that_the_database_is_missing() {
    let user = users().into_iter().find(|user| *user != 0).unwrap();
    let home = home_of(user);
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    chmod(&data_of(home.path()), 0o000);
    for arguments in [["user", "list"], ["db", "check"], ["doctor", "--json"]] {
        let output = doorward(home.path()).args(arguments).output().unwrap();
        assert!(!output.status.success());
        let said = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap()).concat();
        assert!(said.contains("ermission denied"), "{said}");
        assert!(!said.contains("there is no") && !said.contains("not exist"), "{said}");
    }
    chmod(&data_of(home.path()), 0o700);
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
fn a_network_of_all_addresses_is_not_a_valid_proxy() {
    let home = home();
    for net in ["0.0.0.0/0", "::/0", "0.0.0.0/1,128.0.0.0/1", "10.0.0.0/7", "2000::/3"] {
        let line = refused(doorward(home.path()).env("DOORWARD_TRUSTED_PROXIES", net));
        assert!(
            line.contains("trusted_proxies") && line.contains("covers too many addresses"),
            "{line}"
        );
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

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
