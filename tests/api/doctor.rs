//! `doorward doctor`: faults are planted, and it finds each of them and nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::secret::MasterSecret;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;

use crate::support::binary::{Doorward, data_of, doorward, printed};

/// A service that has been used, with a certificate.
fn healthy() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    certify(home.path(), "login.example.com", 2090);
    home
}

fn certify(home: &Path, host: &str, until: i32) {
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    fs::write(home.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(home.join("key.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(home.join("key.pem"), Permissions::from_mode(0o600)).unwrap();
}

fn doctor(home: &Path) -> Command {
    let mut command = doorward(home);
    command.env("DOORWARD_PUBLIC_URL", "https://login.example.com");
    command.env("DOORWARD_TLS__CERT", "cert.pem").env("DOORWARD_TLS__KEY", "key.pem");
    command.arg("doctor");
    command
}

/// The one thing that it finds.
#[track_caller]
fn finds(command: &mut Command, check: &str, says: &str) {
    let output = command.arg("--json").output().unwrap();
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{check}: {out}{error}");
    let found: Vec<Value> = serde_json::from_str(&out).expect(&out);
    assert_eq!(found.len(), 1, "{check}: {out}");
    let problem = found[0]["problem"].as_str().unwrap();
    assert_eq!(found[0]["check"], check, "{out}");
    assert!(problem.contains(says) && problem.contains("; "), "{problem}: it should say {says}");
}

#[test]
fn it_is_silent_about_a_healthy_system_and_changes_nothing() {
    let home = healthy();
    assert_eq!(printed(&mut doctor(home.path())), "Nothing is wrong.\n");
    assert_eq!(printed(doctor(home.path()).arg("--json")), "[]\n");
    let fresh = tempfile::tempdir().unwrap();
    assert_eq!(printed(doorward(fresh.path()).arg("doctor")), "Nothing is wrong.\n");
    assert_eq!(fs::read_dir(fresh.path()).unwrap().count(), 0);
}

#[test]
fn it_finds_what_is_wrong_with_the_settings() {
    let home = healthy();
    let with = |name: &str, value: &str, check: &str, says: &str| {
        finds(doctor(home.path()).env(name, value), check, says);
    };
    with("DOORWARD_TRUSTED_PROXIES", "0.0.0.0/0", "trusted_proxies", "is everybody");
    with("DOORWARD_CORS__ORIGINS", "http://app.example.com", "cors.origins", "serve it by https");
    with("DOORWARD_TLS__CERT", "nowhere.pem", "tls", "cannot be read");
    with("DOORWARD_PUBLIC_URL", "https://other.example.com", "tls", "is not for other.example.com");
    with("DOORWARD_PASSWORDS__THREADS", "1024", "passwords", "MiB of this machine's");
    with("DOORWARD_SECRET", &MasterSecret::generate().to_text(), "keys", "does not open");
    let mut plain = doctor(home.path());
    plain.env_remove("DOORWARD_TLS__CERT").env_remove("DOORWARD_TLS__KEY");
    finds(plain.env("DOORWARD_LISTEN", "0.0.0.0:8080"), "listen", "unencrypted");
    let mut nameless = doctor(home.path());
    nameless.env_remove("DOORWARD_PUBLIC_URL").env("DOORWARD_LISTEN", "0.0.0.0:8080");
    finds(&mut nameless, "public_url", "set it to the URL");
    let mut few = Command::new("sh");
    let own = doctor(home.path());
    few.env_clear().current_dir(home.path());
    for (name, value) in own.get_envs() {
        few.env(name, value.unwrap());
    }
    few.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""]).arg(own.get_program());
    finds(few.args(own.get_args()), "open files", "256 files may be open");
}

#[test]
fn it_finds_what_is_wrong_with_the_files() {
    let home = healthy();
    let data = data_of(home.path());
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(&data, 0o755);
    finds(&mut doctor(home.path()), "data_dir", "chmod 700");
    mode(&data, 0o700);
    mode(&home.path().join("key.pem"), 0o644);
    finds(&mut doctor(home.path()), "tls", "chmod 640");
    certify(home.path(), "login.example.com", 2020);
    finds(&mut doctor(home.path()), "tls", "has expired");
    certify(home.path(), "login.example.com", 2090);
    let secret = data.join("secret");
    mode(&secret, 0o644);
    finds(&mut doctor(home.path()), "secret", "chmod 600");
    mode(&secret, 0o600);
    fs::rename(&secret, home.path().join("aside")).unwrap();
    finds(&mut doctor(home.path()), "secret", "restore it");
    fs::rename(home.path().join("aside"), &secret).unwrap();
    assert_eq!(printed(&mut doctor(home.path())), "Nothing is wrong.\n");
}

#[test]
fn it_finds_what_is_wrong_with_the_database() {
    let home = healthy();
    let file = data_of(home.path()).join("doorward.db");
    let run = |statement: &str| {
        let mut c = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
        c.batch_execute(statement).unwrap();
    };
    run("ALTER TABLE users ADD COLUMN nickname TEXT");
    finds(&mut doctor(home.path()), "database", "nickname");
    run("ALTER TABLE users DROP COLUMN nickname");
    run("INSERT INTO __diesel_schema_migrations (version) VALUES ('20990101000000')");
    finds(&mut doctor(home.path()), "database", "is unknown");
    run("DELETE FROM __diesel_schema_migrations WHERE version = '20990101000000'");
    run("UPDATE signing_keys SET sealed = x'00'");
    finds(&mut doctor(home.path()), "keys", "");
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(file.with_file_name(format!("doorward.db{ending}")));
    }
    fs::write(&file, "this is no database, and longer than a header ".repeat(50)).unwrap();
    finds(&mut doctor(home.path()), "database", "cannot open the database");
}
