//! Doorward against the OAuth and JOSE libraries of Node and Python. The scripts and the versions
//! stand in tests/interop.
//!
//! Where Node or Python is missing, or the libraries cannot be had, the test says so and is left
//! out; where that must not be (`CI` is set) it fails.

#![expect(clippy::disallowed_methods, reason = "none of these is a setting of Doorward's")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs, io};

use serde_json::Value;

use crate::support::binary::{Doorward, doorward, printed};

/// openid-client and jose need it.
const NODE: u32 = 20;

/// authlib and cryptography need it.
const PYTHON: u32 = 10;

#[test]
fn the_libraries_of_node_discover_verify_introspect_revoke_and_refresh() {
    let versions = ["package.json", "package-lock.json"];
    let Some(home) = installed("node", &versions, |home| {
        at_least(Command::new("node").arg("--version"), "v", NODE)?;
        let flags = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        done(Command::new("npm").args(flags).current_dir(home))
    }) else {
        return;
    };
    let script = home.join("interop.mjs");
    fs::copy(source("interop.mjs"), &script).unwrap();
    let libraries = ["oauth4webapi", "openid-client", "jose", "express-oauth2-jwt-bearer"];
    against_the_service(Command::new("node").arg(script), &libraries);
}

#[test]
fn the_libraries_of_python_verify_introspect_revoke_and_refresh() {
    let Some(home) = installed("python", &["requirements.txt"], |home| {
        at_least(Command::new("python3").arg("--version"), "Python 3.", PYTHON)?;
        done(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(home))?;
        let flags = ["-m", "pip", "install", "--quiet", "-r", "requirements.txt"];
        done(Command::new(home.join("venv/bin/python")).args(flags).current_dir(home))
    }) else {
        return;
    };
    let mut python = Command::new(home.join("venv/bin/python"));
    against_the_service(python.arg(source("interop.py")), &["Authlib", "joserfc"]);
}

/// Runs a script against a service of its own, and expects a line for each library.
fn against_the_service(script: &mut Command, libraries: &[&str]) {
    let home = tempfile::tempdir().unwrap();
    let service = Doorward::start(&mut doorward(home.path()));
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

/// The folder with the libraries, which are fetched once for each version of `files`.
fn installed(
    name: &str,
    files: &[&str],
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Option<PathBuf> {
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
        fs::copy(source(file), home.join(file)).unwrap();
    }
    if let Err(reason) = install(&home) {
        assert!(env::var_os("CI").is_none(), "{name}: {reason}");
        // Past the test program's own capture of what a test prints.
        let said = format!("\nNOT TESTED: the libraries of {name}: {}\n", reason.trim());
        let _ = io::stderr().write_all(said.as_bytes());
        return None;
    }
    fs::write(marker, wanted).unwrap();
    Some(home)
}

fn at_least(command: &mut Command, prefix: &str, wanted: u32) -> Result<(), String> {
    let output = run(command)?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let version =
        said.strip_prefix(prefix).and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    match version {
        Some(version) if version >= wanted => Ok(()),
        _ => Err(format!("{prefix}{wanted} or later is needed, and here is {said}")),
    }
}

fn done(command: &mut Command) -> Result<(), String> {
    run(command).map(drop)
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(file)
}
