//! `doorward doctor`: it finds each planted fault, and nothing else.

mod reached;
mod settings;
mod storage;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use serde_json::Value;

use crate::support::binary::{Doorward, PATIENT, doorward};

/// A used service, with a certificate.
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

fn doctor(home: &Path) -> Command {
    let mut command = doorward(home);
    command.env("DOORWARD_PUBLIC_URL", "https://login.example.com");
    command.env("DOORWARD_TLS__CERT", "cert.pem").env("DOORWARD_TLS__KEY", "key.pem");
    command.env(PATIENT.0, PATIENT.1).arg("doctor");
    command
}

/// Its only finding.
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
    assert!(!problem.starts_with(&format!("{check}: ")), "{problem}: it repeats the check");
}
