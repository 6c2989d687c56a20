//! Clients that generators make of `openapi.yaml`: each compiles and completes a session, and reads
//! the code of an error. Two linters find no error in the description.
//!
//! The generators come from the registries of npm, Python and Go. If a toolchain is missing, the
//! test prints so and is skipped; if skipping is not allowed (`CI` is set) it fails.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::interop::{against_the_service, at_least, done, installed, python_with, source};

/// The generators and linters require it.
const NODE: u32 = 20;

const DESCRIPTION: &str = include_str!("../../../openapi.yaml");

#[test]
fn redocly_and_spectral_find_no_error() {
    let Some(home) = node_folder() else { return };
    let lint = |arguments: &[&str]| {
        let mut npx = npx(&home, arguments);
        npx.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
        done(&mut npx).unwrap();
    };
    lint(&["redocly", "lint", "openapi.yaml"]);
    lint(&["spectral", "lint", "--ruleset", "spectral.yaml", "openapi.yaml"]);
}

#[test]
fn the_clients_of_openapi_typescript_and_hey_api_complete_a_session() {
    let Some(home) = node_folder() else { return };
    done(&mut npx(&home, &["openapi-typescript", "openapi.yaml", "-o", "schema.d.ts"])).unwrap();
    done(&mut npx(&home, &["openapi-ts", "--no-log-file"])).unwrap();
    let mut tsc = npx(&home, &["tsc"]);
    let output = tsc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for (script, library) in
        [("out/typed.js", "openapi-typescript"), ("out/sdk.js", "@hey-api/openapi-ts")]
    {
        against_the_service(Command::new("node").arg(home.path().join(script)), &[library]);
    }
}

#[test]
fn the_clients_of_openapi_generator_and_openapi_python_client_complete_a_session() {
    let Some(programs) = python_generators() else { return };
    let home = folder("python", &["by_openapi_generator.py", "by_openapi_python_client.py"]);
    openapi_generator(&programs, &home, &["-g", "python", "-o", "generated"]);
    let made = home.path().join("generated/openapi_client");
    fs::rename(made, home.path().join("openapi_client")).unwrap();
    let arguments = ["generate", "--path", "openapi.yaml", "--meta", "none"];
    let mut generator = Command::new(programs.join("openapi-python-client"));
    generator.args(arguments).args(["--output-path", "python_client"]).current_dir(home.path());
    done(&mut generator).unwrap();
    for (script, library) in [
        ("by_openapi_generator.py", "openapi-generator for Python"),
        ("by_openapi_python_client.py", "openapi-python-client"),
    ] {
        let mut python = Command::new(programs.join("python"));
        against_the_service(python.arg(home.path().join(script)), &[library]);
    }
}

#[test]
fn the_go_client_of_oapi_codegen_completes_a_session() {
    let Some(home) = go_folder("by_oapi_codegen") else { return };
    let client = home.path().join("by_oapi_codegen/client");
    fs::create_dir(&client).unwrap();
    let mut generator = go(&home, &["tool", "oapi-codegen", "-generate", "types,client"]);
    generator.args(["-package", "client", "-o", "by_oapi_codegen/client/client.go"]);
    done(generator.arg("openapi.yaml")).unwrap();
    run_go(&home, "./by_oapi_codegen", "oapi-codegen");
}

#[test]
fn the_go_client_of_openapi_generator_completes_a_session() {
    let (Some(programs), Some(home)) = (python_generators(), go_folder("by_openapi_generator"))
    else {
        return;
    };
    let properties = "packageName=client,withGoMod=false";
    let out = "by_openapi_generator/client";
    openapi_generator(
        &programs,
        &home,
        &["-g", "go", "-o", out, "--additional-properties", properties],
    );
    // They import a module of the name that the generator would have given.
    fs::remove_dir_all(home.path().join(out).join("test")).unwrap();
    run_go(&home, "./by_openapi_generator", "openapi-generator for Go");
}

/// Compiles a program of the Go module, and runs it.
fn run_go(home: &TempDir, package: &str, library: &str) {
    done(&mut go(home, &["build", "-o", "program", package])).unwrap();
    against_the_service(&mut Command::new(home.path().join("program")), &[library]);
}

fn go(home: &TempDir, arguments: &[&str]) -> Command {
    let mut go = Command::new("go");
    go.args(arguments).current_dir(home.path());
    go
}

/// A folder with the Go module, whose dependencies are downloaded.
fn go_folder(program: &str) -> Option<TempDir> {
    installed("generated-go", &["generated/go/go.mod", "generated/go/go.sum"], |home| {
        done(Command::new("go").args(["mod", "download"]).current_dir(home))
    })?;
    let home = folder("go", &["go.mod", "go.sum"]);
    fs::create_dir(home.path().join(program)).unwrap();
    let main = format!("{program}/main.go");
    fs::copy(source(&format!("generated/go/{main}")), home.path().join(main)).unwrap();
    Some(home)
}

/// The programs of the Python packages. One of them contains a program for Java.
fn python_generators() -> Option<PathBuf> {
    installed("generated-java", &[], |_| done(Command::new("java").arg("-version")))?;
    python_with("generated-python", "generated/python/requirements.txt")
}

fn openapi_generator(programs: &Path, home: &TempDir, arguments: &[&str]) {
    let mut generator = Command::new(programs.join("openapi-generator-cli"));
    generator.args(["generate", "-i", "openapi.yaml"]).args(arguments).current_dir(home.path());
    done(&mut generator).unwrap();
}

/// A folder with the scripts and packages for Node.
fn node_folder() -> Option<TempDir> {
    let packages = ["generated/node/package.json", "generated/node/package-lock.json"];
    let modules = installed("generated-node", &packages, |home| {
        at_least(Command::new("node").arg("--version"), "v", NODE)?;
        let flags = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        done(Command::new("npm").args(flags).current_dir(home))
    })?;
    let files = ["openapi-ts.config.mjs", "sdk.ts", "spectral.yaml", "tsconfig.json", "typed.ts"];
    let home = folder("node", &files);
    fs::copy(modules.join("package.json"), home.path().join("package.json")).unwrap();
    symlink(modules.join("node_modules"), home.path().join("node_modules")).unwrap();
    Some(home)
}

fn npx(home: &TempDir, arguments: &[&str]) -> Command {
    let mut npx = Command::new("npx");
    npx.arg("--no-install").args(arguments).current_dir(home.path());
    npx
}

/// A new folder with the description and these files of `tests/interop/generated`.
fn folder(language: &str, files: &[&str]) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("openapi.yaml"), DESCRIPTION).unwrap();
    for file in files {
        let from = source(&format!("generated/{language}/{file}"));
        fs::copy(from, home.path().join(file)).unwrap();
    }
    home
}
