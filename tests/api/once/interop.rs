//! Doorward against the OAuth and JOSE libraries of Node and Python, and its TLS against Mozilla's
//! recommendations, as sslyze checks them. The scripts and the versions are in tests/interop.
//!
//! If Node or Python is missing, or the libraries cannot be installed, the test prints so and is
//! skipped; if skipping is not allowed (`CI` is set) it fails.

#![expect(clippy::disallowed_methods, reason = "none of these is a setting of Doorward's")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{env, fs, io};

use doorward::clock::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serde_json::Value;

use crate::support::binary::{Doorward, PATIENT, SLOWLY, doorward, printed};

/// openid-client and jose require it.
const NODE: u32 = 20;

/// authlib and cryptography require it.
const PYTHON: u32 = 10;

#[test]
fn the_libraries_of_node_discover_verify_introspect_revoke_and_refresh() {
    let Some(home) = node_home() else { return };
    let script = home.join("interop.mjs");
    fs::copy(source("interop.mjs"), &script).unwrap();
    let libraries = ["oauth4webapi", "openid-client", "jose", "express-oauth2-jwt-bearer"];
    against_the_service(Command::new("node").arg(script), &libraries);
}

#[test]
fn the_libraries_of_python_verify_introspect_revoke_and_refresh() {
    let Some(programs) = python_with("python", "requirements.txt") else { return };
    let mut python = Command::new(programs.join("python"));
    against_the_service(python.arg(source("interop.py")), &["Authlib", "joserfc"]);
}

#[test]
fn sslyze_finds_https_as_mozilla_advises() {
    let Some(programs) = python_with("sslyze", "sslyze.txt") else { return };
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name);
    let authority = certificate(home.path());
    let mut command = doorward(home.path());
    command.env("DOORWARD_TLS__CERT", file("cert.pem")).env("DOORWARD_TLS__KEY", file("key.pem"));
    let service = Doorward::start(&mut command);
    let (_, port) = service.url.rsplit_once(':').unwrap();
    let mut sslyze = Command::new(programs.join("sslyze"));
    sslyze.arg("--mozilla_config=intermediate").arg("--certinfo_ca_file").arg(authority);
    let output = sslyze.arg(format!("localhost:{port}{{127.0.0.1}}")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("OK - Compliant."), "{said}");
}

/// Writes a certificate for localhost, of a kind that public authorities issue, and its key.
/// Returns the path of the authority to trust.
pub fn certificate(folder: &Path) -> PathBuf {
    let of_authority = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(DnType::CommonName, "Doorward's tests");
    let root = folder.join("authority.pem");
    fs::write(&root, authority.self_signed(&of_authority).unwrap().pem()).unwrap();

    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new([String::from("localhost")]).unwrap();
    own.distinguished_name = DistinguishedName::new();
    own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    own.use_authority_key_identifier_extension = true;
    let now = u64::try_from(Clock::system().now().unix_seconds()).unwrap();
    let days = |count: u64| Duration::from_secs(count * 24 * 60 * 60);
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
    (own.not_before, own.not_after) = (now - days(1), now + days(89));
    let own = own.signed_by(&key, &Issuer::new(authority, of_authority)).unwrap();
    fs::write(folder.join("cert.pem"), own.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(
        folder.join("key.pem"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    root
}

/// The directory with the libraries of Node.
pub fn node_home() -> Option<PathBuf> {
    installed("node", &["package.json", "package-lock.json"], |home| {
        at_least(Command::new("node").arg("--version"), "v", NODE)?;
        let flags = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        done(Command::new("npm").args(flags).current_dir(home))
    })
}

/// The directory with Python and its programs, where these requirements are installed.
pub fn python_with(name: &str, requirements: &str) -> Option<PathBuf> {
    let home = installed(name, &[requirements], |home| {
        at_least(Command::new("python3").arg("--version"), "Python 3.", PYTHON)?;
        done(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(home))?;
        let file = Path::new(requirements).file_name().unwrap();
        let flags = ["-m", "pip", "install", "--quiet", "-r"];
        done(Command::new(home.join("venv/bin/python")).args(flags).arg(file).current_dir(home))
    });
    home.map(|home| home.join("venv/bin"))
}

/// Runs a script against its own service, and expects a line for each library.
pub fn against_the_service(script: &mut Command, libraries: &[&str]) {
    let home = tempfile::tempdir().unwrap();
    let service = Doorward::start(doorward(home.path()).envs([PATIENT, SLOWLY]));
    let arguments = ["client", "add", "--name", "interop", "--scope", "orders:read", "--json"];
    let client: Value =
        serde_json::from_str(&printed(doorward(home.path()).args(arguments))).unwrap();
    let output = script
        .env("ISSUER", &service.url)
        .env("CLIENT_ID", client["client_id"].as_str().unwrap())
        .env("CLIENT_SECRET", client["client_secret"].as_str().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let works: Vec<_> = said.lines().filter_map(|line| line.strip_suffix(": works")).collect();
    assert_eq!(works, libraries, "{said}");
}

/// The directory with the libraries, which are installed once for each version of `files`.
pub fn installed(
    name: &str,
    files: &[&str],
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Option<PathBuf> {
    // Several tests use the same libraries.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interop-{name}"));
    let marker = home.join("installed");
    let wanted: String =
        files.iter().map(|file| fs::read_to_string(source(file)).unwrap()).collect();
    if fs::read_to_string(&marker).is_ok_and(|there| there == wanted) {
        return Some(home);
    }
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).unwrap();
    for file in files {
        fs::copy(source(file), home.join(Path::new(file).file_name().unwrap())).unwrap();
    }
    if let Err(reason) = install(&home) {
        let left_out = env::var("DOORWARD_TEST_LEFT_OUT").unwrap_or_default();
        let is_left_out = left_out.split_whitespace().any(|one| one == name);
        assert!(is_left_out || env::var_os("CI").is_none(), "{name}: {reason}");
        // Bypasses the harness, which hides the output of passing tests.
        let said = format!("\nNOT TESTED: the libraries of {name}: {}\n", reason.trim());
        let _ = io::stderr().write_all(said.as_bytes());
        return None;
    }
    fs::write(marker, wanted).unwrap();
    Some(home)
}

pub fn at_least(command: &mut Command, prefix: &str, wanted: u32) -> Result<(), String> {
    let output = run(command)?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let version =
        said.strip_prefix(prefix).and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    match version {
        Some(version) if version >= wanted => Ok(()),
        _ => Err(format!("{prefix}{wanted} or later is needed, and here is {said}")),
    }
}

pub fn done(command: &mut Command) -> Result<(), String> {
    run(command).map(drop)
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

pub fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(file)
}
