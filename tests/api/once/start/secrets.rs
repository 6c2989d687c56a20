//! The master secret: values that are rejected, and the permissions of its file.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use doorward::secret::MasterSecret;

use crate::support::binary::{Doorward, data_of, doorward, give, home, printed};

use super::{assert_says, assert_untouched, refused, secrets, used};

#[test]
fn a_weak_secret_is_refused() {
    let home = home();
    for weak in ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &"0123456789abcdef".repeat(4)] {
        let line = refused(doorward(home.path()).env("DOORWARD_SECRET", weak));
        assert_says(&line, &["secret", "too regular to be random", "openssl rand -base64 32"]);
        assert!(!line.contains(weak), "a secret in the log: {line}");
    }
    assert_untouched(home.path());
}

#[test]
fn a_malformed_secret_is_refused() {
    let home = home();
    let line = refused(doorward(home.path()).env("DOORWARD_SECRET", "hunter2"));
    assert_says(&line, &["secret", "32 random bytes", "openssl rand -base64 32"]);
    assert!(!line.contains("hunter2"), "a secret in the log: {line}");
    assert_untouched(home.path());
}

#[test]
fn a_generated_secret_is_valid_and_unique() {
    let home = home();
    let drawn = [(); 2].map(|()| printed(doorward(home.path()).args(["secret", "new"])));
    assert_ne!(drawn[0], drawn[1]);
    assert_untouched(home.path());
    let file = home.path().join("drawn");
    fs::write(&file, &drawn[0]).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    give(&file, home.path());
    let mut command = doorward(home.path());
    assert!(Doorward::start(command.env("DOORWARD_SECRET_FILE", file)).stop().0.success());
    assert!(!data_of(home.path()).join("secret").exists());
}

#[test]
fn a_missing_secret_file_is_rejected() {
    let home = home();
    let line = refused(doorward(home.path()).env("DOORWARD_SECRET_FILE", "nowhere/secret"));
    assert_says(&line, &["DOORWARD_SECRET_FILE", "nowhere/secret"]);
    assert_untouched(home.path());
}

#[test]
fn a_secret_that_does_not_decrypt_the_stored_keys_is_rejected() {
    let home = used();
    let other = MasterSecret::generate().to_text().to_string();
    let before = secrets(home.path());
    let line = refused(doorward(home.path()).env("DOORWARD_SECRET", &other));
    assert_says(&line, &["secret", "does not decrypt the signing keys", "previous_secret"]);
    assert_eq!(secrets(home.path()), before);
    // With the original secret it starts as before.
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
}

#[test]
fn a_missing_secret_next_to_a_database_is_an_error_and_no_new_one_is_generated() {
    let home = used();
    let secret = data_of(home.path()).join("secret");
    fs::rename(&secret, home.path().join("backup")).unwrap();
    let line = refused(&mut doorward(home.path()));
    assert_says(&line, &[secret.to_str().unwrap(), "missing", "restore it", "DOORWARD_SECRET"]);
    assert!(!secret.exists());
    fs::rename(home.path().join("backup"), &secret).unwrap();
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
}

#[test]
fn a_secret_that_every_user_can_read_is_refused_and_the_group_may() {
    let home = used();
    let secret = data_of(home.path()).join("secret");
    assert_eq!(mode(&secret), 0o600);
    for open in [0o644, 0o604, 0o602, 0o666] {
        fs::set_permissions(&secret, Permissions::from_mode(open)).unwrap();
        let line = refused(&mut doorward(home.path()));
        assert_says(&line, &[secret.to_str().unwrap(), "every user", "chmod 600", "fsGroup"]);
    }
    // A Kubernetes volume with an fsGroup sets the group's bits.
    for (folder, group) in [(0o2770, 0o660), (0o2770, 0o640), (0o700, 0o440)] {
        fs::set_permissions(data_of(home.path()), Permissions::from_mode(folder)).unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(group)).unwrap();
        assert!(Doorward::start(&mut doorward(home.path())).stop().0.success(), "{group:o}");
        assert_eq!(mode(&secret), group, "the file is unchanged");
    }
}

#[test]
fn a_configuration_file_with_a_password_that_every_user_can_read_is_refused() {
    let home = home();
    let file = home.path().join("doorward.toml");
    for (url, has_password) in [
        ("postgres://door:hunter2@127.0.0.1:1/d", true),
        ("postgres://127.0.0.1:1/d?user=door&password=hunter2", true),
        ("postgres://127.0.0.1:1/d?sslmode=disable", false),
    ] {
        fs::write(&file, format!("database_url = '{url}'\n")).unwrap();
        give(&file, home.path());
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let mut command = doorward(home.path());
        let line = refused(command.env("DOORWARD_SECRET", MasterSecret::generate().to_text()));
        assert_eq!(line.contains("every user"), has_password, "{url}: {line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[test]
fn created_files_are_private() {
    let home = used();
    let data = data_of(home.path());
    assert_eq!(mode(&data), 0o700);
    for file in fs::read_dir(&data).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
