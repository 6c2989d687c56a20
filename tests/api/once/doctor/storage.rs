//! Findings about files and the database.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::Value;

use crate::support::binary::{data_of, printed};

use super::{certify, doctor, finds, healthy};

/// The same with an authority whose own certificate expires at `until`.
fn certify_by(home: &Path, host: &str, until: i32) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "An authority");
    authority.not_after = date_time_ymd(until, 1, 1);
    let its_key = KeyPair::generate().unwrap();
    let its_own = authority.self_signed(&its_key).unwrap();
    let issuer = Issuer::new(authority, its_key);
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.not_after = date_time_ymd(2090, 1, 1);
    let key = KeyPair::generate().unwrap();
    let own = params.signed_by(&key, &issuer).unwrap();
    fs::write(home.join("cert.pem"), own.pem() + &its_own.pem()).unwrap();
    fs::write(home.join("key.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn it_finds_faults_of_the_files() {
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
    let chain = home.path().join("cert.pem");
    let own = fs::read_to_string(&chain).unwrap();
    certify(home.path(), "stranger.example.com", 2090);
    let stranger = fs::read_to_string(&chain).unwrap();
    certify(home.path(), "login.example.com", 2090);
    let again = fs::read_to_string(&chain).unwrap();
    fs::write(&chain, again.clone() + &stranger).unwrap();
    finds(&mut doctor(home.path()), "tls", "certificate 2 did not issue the one before it");
    fs::write(&chain, own + &again).unwrap();
    finds(&mut doctor(home.path()), "tls", "does not match the first certificate");
    fs::write(&chain, again).unwrap();
    certify_by(home.path(), "login.example.com", 2020);
    finds(&mut doctor(home.path()), "tls", "certificate 2 has expired");
    certify_by(home.path(), "login.example.com", 2090);
    assert_eq!(printed(&mut doctor(home.path())), "No problems found.\n");

    mode(&data.join("doorward.db"), 0o644);
    finds(&mut doctor(home.path()), "database", "chmod 600");
    mode(&data.join("doorward.db"), 0o600);
    let secret = data.join("secret");
    let copy = home.path().join("copy");
    fs::copy(&secret, &copy).unwrap();
    mode(&copy, 0o644);
    finds(doctor(home.path()).env("DOORWARD_SECRET_FILE", &copy), "secret", "chmod 640");
    let url = home.path().join("mail-url");
    fs::write(&url, "file:").unwrap();
    mode(&url, 0o644);
    let mut readable = doctor(home.path());
    let output = readable.env("DOORWARD_EMAIL__URL_FILE", &url).arg("--json").output().unwrap();
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let checks: Vec<&str> = found.iter().map(|it| it["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["email.url"; 2], "readable by others, and no mail server: {found:?}");
    let settings = home.path().join("settings.toml");
    let line = format!("secret = \"{}\"\n", fs::read_to_string(&copy).unwrap().trim());
    fs::write(&settings, line).unwrap();
    mode(&settings, 0o604);
    finds(doctor(home.path()).arg("--config").arg(&settings), "secret", "settings.toml");
    mode(&secret, 0o644);
    finds(&mut doctor(home.path()), "secret", "chmod 600");
    mode(&secret, 0o600);
    fs::rename(&secret, home.path().join("aside")).unwrap();
    finds(&mut doctor(home.path()), "secret", "restore it");
    fs::rename(home.path().join("aside"), &secret).unwrap();
    // As a Kubernetes volume with an fsGroup creates them.
    mode(&data, 0o2770);
    for file in [&secret, &data.join("doorward.db")] {
        mode(file, 0o660);
    }
    assert_eq!(printed(&mut doctor(home.path())), "No problems found.\n");
}

#[test]
fn it_finds_faults_of_the_database() {
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
    run("PRAGMA foreign_keys = OFF; INSERT INTO sessions
         (id, user_id, client_id, family_hash, generation, retry_keys, created_at, last_seen_at,
          expires_at, ends_at)
         VALUES ('019bbbbb-0000-7000-8000-000000000001', '019aaaaa-0000-7000-8000-000000000001',
                 'doorward', zeroblob(32), 0, zeroblob(0), 1, 1, 1, 1)");
    finds(&mut doctor(home.path()), "database", "of sessions refers to no row of users");
    run("DELETE FROM sessions");
    let year = 365_i64 * 86_400 * 1_000_000;
    run(&format!("UPDATE signing_keys SET created_at = created_at + {year}"));
    finds(&mut doctor(home.path()), "keys", "was created in the future");
    run(&format!(
        "UPDATE signing_keys
         SET created_at = created_at - 2 * {year}, activated_at = activated_at - {year}"
    ));
    finds(&mut doctor(home.path()), "keys", "is still active");
    run(&format!(
        "UPDATE signing_keys
         SET created_at = created_at + {year}, activated_at = activated_at + {year}"
    ));
    assert_eq!(printed(&mut doctor(home.path())), "No problems found.\n");
    run("UPDATE signing_keys SET sealed = x'00'");
    finds(&mut doctor(home.path()), "keys", "");
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(file.with_file_name(format!("doorward.db{ending}")));
    }
    fs::write(&file, "this is not a database, and longer than a header ".repeat(50)).unwrap();
    finds(&mut doctor(home.path()), "database", "cannot open the database");
}
