//! `db copy` between two databases of one kind. Copies between kinds are in `tests/nodes/copy.rs`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use diesel::connection::SimpleConnection as _;

use crate::support::binary::{Doorward, data_of, unlimited};
use crate::support::client::PASSWORD;
use crate::support::data::{
    EMAIL, MANY, assert_empty, connect, copy, fill, kill_copy, migrated, number, url_of, used,
};
use crate::support::postgres::on_postgres;

use super::{KEY, second, tables};

#[tokio::test]
async fn sessions_continue_in_a_copy_of_the_same_kind() {
    let home = tempfile::tempdir().unwrap();
    let ada = used(home.path()).await;
    let other = second(home.path());
    let (status, said, complaint) = copy(home.path(), &url_of(home.path()), &other, &[]);
    assert_eq!(status, 0, "{complaint}");
    assert!(said.contains("DOORWARD_SECRET_FILE"), "{said}");
    assert!(complaint.contains("copy users: 1 rows"), "a line a table: {complaint}");

    let service = Doorward::start(unlimited(home.path()).env("DOORWARD_DATABASE_URL", &other));
    service.me(&ada.access).await.unwrap().assert_status(200);
    service.refresh(&ada.refresh, KEY).await.unwrap().assert_status(200);
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
}

#[tokio::test]
async fn a_target_with_rows_is_rejected_and_left_unchanged() {
    let home = tempfile::tempdir().unwrap();
    let ada = used(home.path()).await;
    let other = tempfile::tempdir().unwrap();
    let bob = used(other.path()).await;
    let (from, to) = (url_of(home.path()), url_of(other.path()));
    let (status, _, complaint) = copy(home.path(), &from, &to, &[]);
    assert_eq!(status, 1);
    assert!(complaint.contains("not empty: its table users has rows"), "{complaint}");
    for (home, stays, stranger) in [(&home, &ada, &bob), (&other, &bob, &ada)] {
        let service = Doorward::start(&mut unlimited(home.path()));
        service.me(&stays.access).await.unwrap().assert_status(200);
        service.refresh(&stays.refresh, KEY).await.unwrap().assert_status(200);
        assert_ne!(stays.session, stranger.session);
        service.me(&stranger.access).await.unwrap().assert_status(401);
    }

    // Rows of an older schema count, too, and it stays an older one.
    let old = second(home.path());
    let mut c = connect(&old);
    c.batch_execute("CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('eve')").unwrap();
    if let Some(file) = old.strip_prefix("sqlite://") {
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    }
    let (status, _, complaint) = copy(home.path(), &from, &old, &[]);
    assert_eq!(status, 1);
    assert!(complaint.contains("not empty: its table users has rows"), "{complaint}");
    assert_eq!(number(&mut c, tables()), 1);
}

#[tokio::test]
async fn a_database_is_not_copied_into_itself() {
    let home = tempfile::tempdir().unwrap();
    used(home.path()).await;
    let url = url_of(home.path());
    let alias = if on_postgres() {
        url.replace("127.0.0.1", "localhost")
    } else {
        let link = home.path().join("link.db");
        std::os::unix::fs::symlink(data_of(home.path()).join("doorward.db"), &link).unwrap();
        format!("sqlite://{}", link.display())
    };
    for (from, to) in [(&url, &url), (&url, &alias), (&alias, &url)] {
        for options in [&[][..], &["--verify"]] {
            let (status, _, complaint) = copy(home.path(), from, to, options);
            assert_eq!(status, 1);
            assert!(complaint.contains("the same database"), "{complaint}");
        }
    }
}

#[tokio::test]
async fn verify_finds_every_planted_difference() {
    let home = tempfile::tempdir().unwrap();
    used(home.path()).await;
    let (from, to) = (url_of(home.path()), second(home.path()));
    let verify = || copy(home.path(), &from, &to, &["--verify"]);
    let (status, _, complaint) = verify();
    assert_eq!(status, 1, "there is nothing to compare: {complaint}");
    assert_eq!(copy(home.path(), &from, &to, &[]).0, 0);
    let (status, said, _) = verify();
    assert_eq!(status, 0, "{said}");
    for (plant, table) in [
        ("UPDATE users SET email = 'Ada@example.com'", "users"),
        ("UPDATE sessions SET label = ''", "sessions"),
        ("DELETE FROM signing_keys", "signing_keys"),
    ] {
        connect(&to).batch_execute(plant).unwrap();
        let (status, said, _) = verify();
        assert_eq!(status, 1, "{plant}");
        let line = said.lines().find(|line| line.starts_with(table)).unwrap();
        assert!(line.ends_with("DIFFERENT"), "{plant}: {said}");
    }
    let (_, said, _) = verify();
    assert_eq!(said.matches("DIFFERENT").count(), 3, "{said}");
    assert!(said.lines().any(|line| line.starts_with("blocklist") && line.ends_with("equal")));
}

#[test]
fn a_killed_copy_leaves_the_target_empty_and_can_be_repeated() {
    let home = migrated();
    let (from, to) = (url_of(home.path()), second(home.path()));
    fill(&from);
    for moment in ["copy users", "copy sessions", "checksum sessions in target"] {
        kill_copy(home.path(), &from, &to, moment);
        assert_empty(&to);
    }
    let (status, said, complaint) = copy(home.path(), &from, &to, &[]);
    assert_eq!(status, 0, "{said} {complaint}");
    assert_eq!(
        number(&mut connect(&to), "SELECT count(*) AS value FROM sessions"),
        i64::from(MANY)
    );
}
