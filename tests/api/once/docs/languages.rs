//! The samples for Node, Python, Go and Java: each accepts a token of the service, and rejects one
//! that was changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::once::interop::{at_least, done, installed, node_home, python_with};
use crate::support::binary::printed;
use crate::support::client::PASSWORD;
use crate::support::docs;
use crate::support::jwt::Jwt;
use crate::support::shell::Shell;

const EMAIL: &str = "ada@example.com";

/// The issuer of the samples.
const ISSUER: &str = "https://login.example.com";

/// Writes the sample with the issuer of a running service, and runs the command with a good and a
/// changed token.
async fn verifies(home: &Path, file: &str, sample: &str, command: impl Fn() -> Command) {
    let mut shell = Shell::new();
    let service = shell.start("doorward --set audience=doorward");
    let account = service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let second = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    assert!(sample.contains(ISSUER), "{sample}");
    fs::write(home.join(file), sample.replace(ISSUER, &service.url)).unwrap();
    let ask = |token: &str| printed(command().arg(token).current_dir(home)).trim().to_owned();
    assert_eq!(ask(&tokens.access), account.body["id"].as_str().unwrap());
    let changed = Jwt::read(&tokens.access).with_signature(Jwt::read(&second.access).signature());
    let said = ask(&changed.to_string());
    assert!(said.starts_with("refused: "), "{said}");
    assert!(service.stop().0.success());
}

#[tokio::test]
async fn the_sample_for_node_verifies_tokens() {
    let Some(home) = node_home() else { return };
    let sample = docs::block("docs/verifying-tokens.md", "import { createRemoteJWKSet");
    let ask = "const told = (claims) => claims.sub;\n\
               const refused = (error) => `refused: ${error.message}`;\n\
               console.log(await verify(process.argv[2]).then(told, refused));\n";
    let node = || {
        let mut node = Command::new("node");
        node.arg("verify.mjs");
        node
    };
    verifies(&home, "verify.mjs", &format!("{sample}\n{ask}"), node).await;
}

#[tokio::test]
async fn the_sample_for_python_verifies_tokens() {
    let Some(programs) = python_with("python", "requirements.txt") else { return };
    let sample = docs::block("docs/verifying-tokens.md", "import time\n");
    let ask = "import sys\n\ntry:\n    print(verify(sys.argv[1])[\"sub\"])\n\
               except Exception as error:\n    print(\"refused:\", error)\n";
    let home = tempfile::tempdir().unwrap();
    let python = || {
        let mut python = Command::new(programs.join("python"));
        python.arg("verify.py");
        python
    };
    verifies(home.path(), "verify.py", &format!("{sample}\n\n{ask}"), python).await;
}

#[tokio::test]
async fn the_sample_for_go_verifies_tokens() {
    let Some(home) = installed("go", &["go/go.mod", "go/go.sum", "go/main.go"], |home| {
        done(Command::new("go").args(["mod", "download"]).current_dir(home))
    }) else {
        return;
    };
    let sample = docs::block("docs/verifying-tokens-go-java.md", "package main");
    let go = || {
        let mut go = Command::new("go");
        go.args(["run", "."]);
        go
    };
    verifies(&home, "verify.go", &sample, go).await;
}

#[tokio::test]
async fn the_sample_for_spring_security_verifies_tokens() {
    let Some(home) = installed("java", &["java/pom.xml", "java/Main.java"], |home| {
        at_least(Command::new("javac").arg("-version"), "javac ", 17)?;
        let goal = ["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"];
        done(Command::new("mvn").args(goal).current_dir(home))
    }) else {
        return;
    };
    let sample =
        docs::block("docs/verifying-tokens-go-java.md", "import org.springframework.security");
    let java = || {
        let run = "javac -cp 'lib/*' -d out *.java && java -cp 'out:lib/*' Main \"$0\"";
        let mut java = Command::new("sh");
        java.args(["-c", run]);
        java
    };
    verifies(&home, "AccessTokens.java", &sample, java).await;
}
