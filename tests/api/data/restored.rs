//! `db restored`.

use doorward::secret::MasterSecret;

use crate::support::binary::{Doorward, doorward, run, unlimited};
use crate::support::client::PASSWORD;
use crate::support::data::{EMAIL, copy, db, outcome, url_of, used};

use super::{KEY, second};

#[tokio::test]
async fn nothing_from_before_a_restored_backup_works_after_it() {
    let home = tempfile::tempdir().unwrap();
    let ada = used(home.path()).await;
    let backup = second(home.path());
    assert_eq!(copy(home.path(), &url_of(home.path()), &backup, &[]).0, 0);

    // Changes that the backup will not contain: a logout, and a session.
    let service = Doorward::start(&mut unlimited(home.path()));
    service.log_out(&ada.access).await.unwrap().assert_status(204);
    let later = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    assert!(service.stop().0.success());

    let restored = |options: &[&str]| {
        let mut command = doorward(home.path());
        command.env("DOORWARD_DATABASE_URL", &backup).args(["db", "after-restore"]).args(options);
        outcome(&mut command)
    };
    let (status, _, complaint) = restored(&[]);
    assert_eq!(status, 1);
    assert!(complaint.contains("--yes"), "{complaint}");
    let (status, said, complaint) = restored(&["--yes"]);
    assert_eq!(status, 0, "{complaint}");
    assert!(said.starts_with("Sessions ended: 1. Signing keys removed: 1.\n"), "{said}");
    assert!(said.contains("accounts, passwords"), "{said}");
    let (status, said, _) = restored(&["--yes"]);
    assert_eq!(status, 0);
    assert!(said.starts_with("Sessions ended: 0. Signing keys removed: 0.\n"), "{said}");

    let service = Doorward::start(unlimited(home.path()).env("DOORWARD_DATABASE_URL", &backup));
    for tokens in [&ada, &later] {
        service.me(&tokens.access).await.unwrap().assert_problem(401, "invalid_token");
    }
    service.refresh(&ada.refresh, KEY).await.unwrap().assert_ended("backup_restored");
    service.refresh(&later.refresh, KEY).await.unwrap().assert_ended("unknown_token");
    let fresh = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    service.me(&fresh.access).await.unwrap().assert_status(200);
    service.refresh(&fresh.refresh, KEY).await.unwrap().assert_status(200);
}

#[tokio::test]
async fn a_database_with_a_lost_secret_starts_with_a_new_one_after_restored() {
    let home = tempfile::tempdir().unwrap();
    used(home.path()).await;
    let secret = MasterSecret::generate().to_text();
    let refusal = run(doorward(home.path()).env("DOORWARD_SECRET", secret.as_str()));
    assert!(refusal.stderr.contains("does not decrypt the signing keys"), "{}", refusal.stderr);
    let (status, _, complaint) = db(home.path(), &["after-restore", "--yes"]);
    assert_eq!(status, 0, "{complaint}");
    let service = Doorward::start(unlimited(home.path()).env("DOORWARD_SECRET", secret.as_str()));
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
}
