//! Every command against a server that was running and is stopped.

use std::fs;

use crate::support::app::SECRET;
use crate::support::binary::printed;
use crate::support::commands::{bare, entries, refused, with_makers};
use crate::support::postgres::Cluster;

#[test]
fn a_command_after_the_server_stopped_names_it_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&["fsync=off"]);
    let url = cluster.empty_database().replace("//doorward@", "//doorward:hunter2@");
    let on_it = |arguments: &[&str]| {
        let mut command = bare(folder.path(), arguments);
        command.env("DOORWARD_DATABASE_URL", &url).env("DOORWARD_SECRET", SECRET);
        command.env("DOORWARD_LISTEN", "127.0.0.1:0").env("DOORWARD_LOG__LEVEL", "off");
        command
    };
    printed(&mut on_it(&["db", "migrate"]));
    printed(&mut on_it(&["user", "list"]));
    let name = url.rsplit('/').next().unwrap();
    let named = format!("postgres://127.0.0.1:{}/{name}", cluster.port);
    cluster.crash();

    let refuses = |arguments: &[&str], says: &[&str]| {
        let mut command = on_it(arguments);
        refused(&mut command, says);
        let output = on_it(arguments).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains("hunter2"), "{arguments:?}: {said}");
    };
    for arguments in with_makers() {
        refuses(arguments, &[&named, "check that it exists"]);
        assert_eq!(entries(folder.path()), 0, "{arguments:?}");
    }
    refuses(&["db", "backup", "copy.db"], &[&named, "pg_dump"]);
    for more in [&[][..], &["--verify"]] {
        let copy = ["db", "copy", "--from", &url, "--to", "sqlite://target.db"];
        refuses(&[&copy, more].concat(), &["the source", &named, "check that it exists"]);
    }
    assert_eq!(entries(folder.path()), 0);

    let file = folder.path().join("source.db");
    let source = format!("sqlite://{}", file.display());
    printed(&mut bare(folder.path(), &["db", "migrate", "--database-url", &source]));
    let (before, made) = (fs::read(&file).unwrap(), entries(folder.path()));
    for more in [&[][..], &["--verify"]] {
        let copy = ["db", "copy", "--from", &source, "--to", &url];
        refuses(&[&copy, more].concat(), &["the target", &named, "check that it exists"]);
        assert_eq!(fs::read(&file).unwrap(), before);
        assert_eq!(entries(folder.path()), made);
    }
}
