//! `doorward doctor`: faults are planted, and it finds each of them and nothing else.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::secret::MasterSecret;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::Value;

use crate::support::binary::{Doorward, PATIENT, data_of, doorward, printed};

/// A service that has been used, with a certificate.
fn healthy() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    certify(home.path(), "login.example.com", 2090);
    home
}

fn certify(home: &Path, host: &str, until: i32) {
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, host);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    fs::write(home.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(home.join("key.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(home.join("key.pem"), Permissions::from_mode(0o600)).unwrap();
}

/// The same by an authority whose own certificate ends sooner or later.
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

fn doctor(home: &Path) -> Command {
    let mut command = doorward(home);
    command.env("DOORWARD_PUBLIC_URL", "https://login.example.com");
    command.env("DOORWARD_TLS__CERT", "cert.pem").env("DOORWARD_TLS__KEY", "key.pem");
    command.env(PATIENT.0, PATIENT.1).arg("doctor");
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
    let mut unset = doorward(fresh.path());
    unset.env(PATIENT.0, PATIENT.1).arg("doctor");
    finds(&mut unset, "database", "there is none at");
    assert_eq!(fs::read_dir(fresh.path()).unwrap().count(), 0);
}

#[test]
fn it_finds_faults_of_the_settings() {
    let home = healthy();
    let with = |name: &str, value: &str, check: &str, says: &str| {
        finds(doctor(home.path()).env(name, value), check, says);
    };
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
    let mut proxied = doctor(home.path());
    proxied.env_remove("DOORWARD_TLS__CERT").env_remove("DOORWARD_TLS__KEY");
    finds(&mut proxied, "trusted_proxies", "all its clients count as one");
    let mut http = doctor(home.path());
    http.env_remove("DOORWARD_TLS__CERT").env_remove("DOORWARD_TLS__KEY");
    http.env("DOORWARD_PUBLIC_URL", "http://login.example.com");
    finds(&mut http, "public_url", "it is http");
    with("DOORWARD_COOKIES__SAME_SITE", "none", "cookies.same_site", "cors.origins is empty");
    let mut slow = doctor(home.path());
    // Time enough to get a thread on any machine, and far less than the hash takes.
    slow.env("DOORWARD_PASSWORDS__QUEUE_DEADLINE", "1s");
    slow.env("DOORWARD_PASSWORDS__MEMORY_KIB", "65536");
    finds(
        slow.env("DOORWARD_PASSWORDS__ITERATIONS", "100"),
        "passwords",
        "longer than it may wait",
    );
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
fn it_shows_the_client_address_behind_a_proxy() {
    let home = healthy();
    let asked = |proxy: &str, forwarded: &str| {
        let mut command = doctor(home.path());
        command.env("DOORWARD_TRUSTED_PROXIES", proxy);
        command.args(["--peer", "10.0.0.1", "--forwarded-for", forwarded]);
        command
    };
    let said = printed(&mut asked("10.0.0.0/8", "203.0.113.9, 198.51.100.7"));
    assert!(said.contains("counts as one of 198.51.100.7."), "{said}");
    finds(&mut asked("", "198.51.100.7"), "trusted_proxies", "10.0.0.1 is not in it");
    finds(&mut asked("10.0.0.1", "unknown"), "trusted_proxies", "is a client's address");
}

#[test]
fn it_finds_faults_of_the_public_url() {
    let home = healthy();
    let at = |url: &str| {
        let mut command = doctor(home.path());
        command.args(["--url", url]);
        command
    };
    let date = |date: &str| answering(&format!("HTTP/1.1 200 OK\r\ndate: {date}\r\n\r\n"));
    finds(&mut at(&date("Wed, 25 Nov 2020 12:00:00 GMT")), "clock", "let NTP set both");
    finds(&mut at(&answering("HTTP/1.1 404 Not Found\r\n\r\n")), "url", "with 404");
    finds(&mut at(&answering("SSH-2.0\r\n\r\n")), "url", "no HTTP");
    finds(&mut at("http://127.0.0.1:1"), "url", "cannot be reached");

    certify(home.path(), "localhost", 2090);
    let mut command = doorward(home.path());
    command.env("DOORWARD_TLS__CERT", "cert.pem").env("DOORWARD_TLS__KEY", "key.pem");
    let service = Doorward::start(&mut command);
    let port = service.url.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}");
    let here = || {
        let mut command = at(&url);
        command.env("DOORWARD_PUBLIC_URL", &url);
        command
    };
    finds(&mut here(), "url", "SSL_CERT_FILE");
    let trusting = printed(here().env("SSL_CERT_FILE", "cert.pem"));
    assert_eq!(trusting, "Nothing is wrong.\n");
    assert!(service.stop().0.success());
}

/// rustls has a name of its own for what is wrong with each of these.
#[test]
fn a_certificate_of_ones_own_is_explained_with_ssl_cert_file() {
    for is_authority in [false, true] {
        let home = healthy();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        fs::write(home.path().join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(home.path().join("key.pem"), key.serialize_pem()).unwrap();
        let mut command = doorward(home.path());
        command.env("DOORWARD_TLS__CERT", "cert.pem").env("DOORWARD_TLS__KEY", "key.pem");
        let service = Doorward::start(&mut command);
        let url = format!("https://localhost:{}", service.url.rsplit(':').next().unwrap());
        for trusted in [None, Some("cert.pem")] {
            let mut asked = doctor(home.path());
            asked.args(["--url", &url]).env("DOORWARD_PUBLIC_URL", &url);
            asked.envs(trusted.map(|file| ("SSL_CERT_FILE", file)));
            // A certificate that is its own authority may be trusted, and still not serve as both.
            if !is_authority && trusted.is_some() {
                assert_eq!(printed(&mut asked), "Nothing is wrong.\n");
                continue;
            }
            finds(&mut asked, "url", "SSL_CERT_FILE");
            let said = asked.output().unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            assert!(!said.contains("OtherError") && !said.contains("AsEndEntity"), "{said}");
        }
        assert!(service.stop().0.success());
    }
}

/// The URL of a server that answers one request so.
fn answering(answer: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, answer) = (listener.local_addr().unwrap(), answer.to_owned());
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(answer.as_bytes());
    });
    format!("http://{address}")
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
    finds(&mut doctor(home.path()), "tls", "certificate 2 has not issued the one before it");
    fs::write(&chain, own + &again).unwrap();
    finds(&mut doctor(home.path()), "tls", "is not that of the first certificate");
    fs::write(&chain, again).unwrap();
    certify_by(home.path(), "login.example.com", 2020);
    finds(&mut doctor(home.path()), "tls", "certificate 2 has expired");
    certify_by(home.path(), "login.example.com", 2090);
    assert_eq!(printed(&mut doctor(home.path())), "Nothing is wrong.\n");

    mode(&data.join("doorward.db"), 0o644);
    finds(&mut doctor(home.path()), "database", "chmod 600");
    mode(&data.join("doorward.db"), 0o600);
    let secret = data.join("secret");
    let copy = home.path().join("copy");
    fs::copy(&secret, &copy).unwrap();
    mode(&copy, 0o644);
    finds(doctor(home.path()).env("DOORWARD_SECRET_FILE", &copy), "secret", "chmod 640");
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
    // As a Kubernetes volume with an fsGroup makes them.
    mode(&data, 0o2770);
    for file in [&secret, &data.join("doorward.db")] {
        mode(file, 0o660);
    }
    assert_eq!(printed(&mut doctor(home.path())), "Nothing is wrong.\n");
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
    finds(&mut doctor(home.path()), "keys", "was made in the future");
    run(&format!(
        "UPDATE signing_keys
         SET created_at = created_at - 2 * {year}, activated_at = activated_at - {year}"
    ));
    finds(&mut doctor(home.path()), "keys", "is still active");
    run(&format!(
        "UPDATE signing_keys
         SET created_at = created_at + {year}, activated_at = activated_at + {year}"
    ));
    assert_eq!(printed(&mut doctor(home.path())), "Nothing is wrong.\n");
    run("UPDATE signing_keys SET sealed = x'00'");
    finds(&mut doctor(home.path()), "keys", "");
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(file.with_file_name(format!("doorward.db{ending}")));
    }
    fs::write(&file, "this is no database, and longer than a header ".repeat(50)).unwrap();
    finds(&mut doctor(home.path()), "database", "cannot open the database");
}
