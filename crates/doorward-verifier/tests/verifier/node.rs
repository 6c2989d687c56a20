//! The worked example for services in other languages: `tests/interop/feed.mjs`, in Node with
//! `jose`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use doorward_tokens::clock::Clock;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::issuer::{AUDIENCE, CLIENT, Issuer, key};
use super::jwt::Jwt;

#[tokio::test]
async fn a_service_in_node_verifies_tokens_and_learns_of_a_logout() {
    let Some(folder) = folder_with_jose().await else {
        eprintln!("SKIPPED: node or npm is missing, or jose could not be installed");
        return;
    };
    let issuer = Issuer::start_with(Clock::system()).await;
    let early = issuer.claims();
    issuer.revoke(&early.jti.to_string());
    let mut node = Node::start(&folder, &issuer);

    let claims = issuer.claims();
    let token = issuer.sign(&claims);
    assert_eq!(node.becomes(&token, "sub").await, claims.sub.to_string());
    assert_eq!(node.ask(&issuer.sign(&early)).await["error"], "revoked");
    let mixed = Jwt::read(&issuer.token()).with_signature(Jwt::read(&token).signature());
    for (forged, code) in [
        (key().sign(&claims).unwrap(), "ERR_JWKS_NO_MATCHING_KEY"),
        (mixed.to_string(), "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"),
    ] {
        assert_eq!(node.ask(&forged).await["error"], code);
    }
    issuer.revoke(&claims.sid.unwrap().to_string());
    assert_eq!(node.becomes(&token, "error").await, "revoked");

    // Disconnected and reconnected: it has missed nothing.
    let missed = issuer.claims();
    assert_eq!(node.ask(&issuer.sign(&missed)).await["sub"], missed.sub.to_string());
    issuer.cut();
    issuer.revoke(&missed.sid.unwrap().to_string());
    issuer.back();
    assert_eq!(node.becomes(&issuer.sign(&missed), "error").await, "revoked");
    assert_eq!(node.ask(&token).await["error"], "revoked");
}

struct Node {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Node {
    fn start(folder: &Path, issuer: &Issuer) -> Self {
        let mut process = Command::new("node")
            .arg("feed.mjs")
            .current_dir(folder)
            .env("DOORWARD_ISSUER", &issuer.url)
            .env("DOORWARD_AUDIENCE", AUDIENCE)
            .env("DOORWARD_CLIENT_ID", CLIENT.0)
            .env("DOORWARD_CLIENT_SECRET", CLIENT.1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { input: process.stdin.take().unwrap(), output, _process: process }
    }

    async fn ask(&mut self, token: &str) -> Value {
        self.input.write_all(format!("{token}\n").as_bytes()).await.unwrap();
        let line = tokio::time::timeout(Duration::from_secs(20), self.output.next_line()).await;
        serde_json::from_str(&line.unwrap().unwrap().expect("node is alive")).unwrap()
    }

    /// Repeats the request until the response has this member, which must have no error other than
    /// `stale` before.
    async fn becomes(&mut self, token: &str, member: &str) -> String {
        for _ in 0..2_000 {
            let answer = self.ask(token).await;
            if let Some(text) = answer[member].as_str().filter(|text| *text != "stale") {
                return text.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no {member}")
    }
}

/// A directory with the example and its one dependency, which is installed once.
async fn folder_with_jose() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interop-feed");
    std::fs::create_dir_all(&folder).ok()?;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/feed.mjs");
    std::fs::copy(example, folder.join("feed.mjs")).ok()?;
    if !folder.join("node_modules/jose/package.json").exists() {
        let install =
            ["install", "--no-save", "--no-audit", "--no-fund", "--prefix", ".", "jose@6"];
        let npm = Command::new("npm").args(install).current_dir(&folder).output().await;
        npm.ok().filter(|output| output.status.success())?;
    }
    Some(folder)
}
