//! Every command of the command line: the database that it uses, and the files that it creates.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use doorward::secret::MasterSecret;

use crate::support::commands::{COMMANDS, bare, entries, refused, with_makers};

#[test]
fn a_command_in_an_empty_folder_names_the_missing_database_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("doorward-data/doorward.db");
    let copy = ["db", "copy", "--from", "sqlite://doorward-data/doorward.db", "--to"];
    let copy = [&copy[..], &["sqlite://other.db"]].concat();
    let backup: &[&str] = &["db", "backup", "copy.db"];
    for arguments in COMMANDS.into_iter().chain([&copy[..], backup]) {
        refused(&mut bare(folder.path(), arguments), &[database.to_str().unwrap()]);
        assert_eq!(entries(folder.path()), 0, "{arguments:?}");
    }
}

#[test]
fn a_command_in_an_empty_database_makes_no_tables() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.db");
    fs::write(&file, "").unwrap();
    let is_reader = |it: &&&[&str]| !matches!(it, ["db", "check"] | ["doctor"]);
    for arguments in COMMANDS.iter().filter(is_reader) {
        let mut command = bare(folder.path(), arguments);
        let url = format!("sqlite://{}", file.display());
        refused(command.env("DOORWARD_DATABASE_URL", url), &[file.to_str().unwrap(), "is empty"]);
        assert_eq!(fs::metadata(&file).unwrap().len(), 0, "{arguments:?}");
        assert_eq!(entries(folder.path()), 1, "{arguments:?}");
    }
}

#[test]
fn a_command_with_a_wrong_url_reports_it_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in with_makers() {
        let mut command = bare(folder.path(), arguments);
        command.env("DOORWARD_DATABASE_URL", "mysql://door:hunter2@db/door");
        refused(&mut command, &["database_url (variable DOORWARD_DATABASE_URL)", "sqlite://"]);
        assert_eq!(entries(folder.path()), 0, "{arguments:?}");
    }
    let mut backup = bare(folder.path(), &["db", "backup", "copy.db"]);
    backup.env("DOORWARD_DATABASE_URL", "mysql://door:hunter2@db/door");
    refused(&mut backup, &["database_url (variable DOORWARD_DATABASE_URL)", "sqlite://"]);
    let (wrong, right) = ("mysql://door:hunter2@db/door", "sqlite://other.db");
    for (from, to, says) in [(wrong, right, "--from"), (right, wrong, "--to")] {
        for more in [&[][..], &["--verify"]] {
            let copy = [&["db", "copy", "--from", from, "--to", to], more].concat();
            refused(&mut bare(folder.path(), &copy), &[says, "sqlite://"]);
            assert_eq!(entries(folder.path()), 0, "{copy:?}");
        }
    }
}

#[test]
fn a_command_with_a_stopped_server_names_it_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let secret = MasterSecret::generate().to_text();
    for arguments in with_makers() {
        let mut command = bare(folder.path(), arguments);
        // Nothing listens there.
        command.env("DOORWARD_DATABASE_URL", "postgres://door:hunter2@127.0.0.1:1/door");
        command.env("DOORWARD_SECRET", &*secret).env("DOORWARD_LISTEN", "127.0.0.1:0");
        command.env("DOORWARD_LOG__LEVEL", "off");
        refused(&mut command, &["postgres://127.0.0.1:1/door", "check that it exists"]);
        assert_eq!(entries(folder.path()), 0, "{arguments:?}");
    }
}

#[test]
fn the_default_database_is_named_and_one_that_was_chosen_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let stderr = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let database = folder.path().join("doorward-data/doorward.db");
    let named = format!("doorward: database: {}; ", database.display());
    for arguments in [&["db", "migrate"], &["user", "list"], &["db", "check"]] {
        let said = stderr(&mut bare(folder.path(), arguments));
        assert!(said.starts_with(&named), "{arguments:?}: {said}");
    }
    let said =
        stderr(bare(folder.path(), &["user", "list"]).env("DOORWARD_DATA_DIR", "doorward-data"));
    assert_eq!(said, "");
}

#[test]
fn the_doctor_names_file_folder_and_database_first() {
    let folder = tempfile::tempdir().unwrap();
    let said = || {
        let output = bare(folder.path(), &["doctor"]).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let at = folder.path().display();
    let places = format!(
        "doorward: data directory: {at}/doorward-data\n\
         doorward: database: {at}/doorward-data/doorward.db\n"
    );
    let none = said();
    assert!(none.starts_with(&format!("doorward: config file: none\n{places}")), "{none}");
    fs::write(folder.path().join("doorward.toml"), "").unwrap();
    let some = said();
    assert!(
        some.starts_with(&format!("doorward: config file: {at}/doorward.toml\n{places}")),
        "{some}"
    );
}

#[test]
fn a_default_file_controlled_by_another_user_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doorward.toml");
    fs::write(&file, "audience = 'theirs'\n").unwrap();
    let config = |arguments: &[&str]| bare(folder.path(), arguments).output().unwrap();
    assert!(config(&["config"]).status.success());

    let named = ["config", "--config", "doorward.toml"];
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    refused(&mut bare(folder.path(), &["config"]), &["doorward.toml", "others can write to it"]);
    assert!(config(&named).status.success());
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();

    // Only root can change a file's owner.
    if rustix::process::geteuid().is_root() {
        chown(&file, Some(12345), None).unwrap();
        refused(&mut bare(folder.path(), &["config"]), &["doorward.toml", "(uid 12345)"]);
        assert!(config(&named).status.success());
    }
}

#[test]
fn start_is_an_alias_of_serve() {
    let folder = tempfile::tempdir().unwrap();
    let help = bare(folder.path(), &["start", "--help"]).output().unwrap();
    assert!(String::from_utf8(help.stdout).unwrap().starts_with("Serve"));
}

#[test]
fn an_invalid_address_is_reported_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let add = ["user", "add", "ada", "--password-file", "-"];
    let says = ["give an e-mail address such as somebody@example.com; nothing was done"];
    refused(&mut bare(folder.path(), &add), &says);
}

#[test]
fn an_old_command_names_the_new_one_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (old, new) in [
        (&["db", "restored", "--yes"][..], "`doorward db after-restore`"),
        (&["key", "retire", "--now", "a"], "`doorward key revoke`"),
    ] {
        refused(&mut bare(folder.path(), old), &[new, "nothing was changed"]);
        assert_eq!(entries(folder.path()), 0, "{old:?}");
    }
}
