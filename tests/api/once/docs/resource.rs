//! The Rust service of `docs/verifying-tokens.md`, against Doorward with the certificate of a
//! private authority.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::once::interop::certificate;
use crate::support::binary::Doorward;
use crate::support::client::PASSWORD;
use crate::support::docs;
use crate::support::program::{free_port, left_out};
use crate::support::shell::Shell;
use crate::support::until;

/// A running example, which is killed when this is dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_example_verifies_tokens_over_https_and_hears_of_a_logout() {
    let example = Path::new(env!("CARGO_BIN_EXE_doorward")).with_file_name("examples");
    let example = example.join("resource_server");
    if !example.is_file() {
        return left_out("resource_server was not built (`cargo test` builds it)");
    }
    let shell = Shell::new();
    let authority = certificate(shell.home.path());
    let (port, orders) = (free_port(), format!("127.0.0.1:{}", free_port()));
    let issuer = format!("https://localhost:{port}");
    let mut start = shell.bash(&format!(
        "exec doorward --listen 127.0.0.1:{port} --public-url {issuer} \
         --set tls.cert=cert.pem --set tls.key=key.pem"
    ));
    let _doorward = Doorward::start(&mut start);
    let add = docs::block("docs/verifying-tokens.md", "doorward client add");
    let client: Value =
        serde_json::from_str(&shell.run(&format!("{} --json", add.trim_end()))).unwrap();

    let lines = docs::block("docs/verifying-tokens.md", "export SSL_CERT_FILE=");
    let lines = lines
        .replace("/etc/ssl/company-ca.pem", authority.to_str().unwrap())
        .replace("https://login.example.com", &issuer)
        .replace("019ab3e1-0b52-7e90-a2c6-5d41f7b80a93", client["client_id"].as_str().unwrap())
        .replace("cargo run --example resource_server", &format!("exec {}", example.display()));
    let mut bash = shell.bash(&lines);
    let mut service =
        Service(bash.env("ORDERS_LISTEN", &orders).stdin(Stdio::piped()).spawn().unwrap());
    writeln!(service.0.stdin.take().unwrap(), "{}", client["client_secret"].as_str().unwrap())
        .unwrap();

    let root = reqwest::Certificate::from_pem(&fs::read(&authority).unwrap()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let account = json!({ "email": "ada@example.com", "password": PASSWORD });
    let asked = async |path: &str| {
        let answer = http.post(format!("{issuer}{path}")).json(&account).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let id = asked("/register").await["id"].as_str().unwrap().to_owned();
    let token = asked("/login").await["access_token"].as_str().unwrap().to_owned();
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = async |path: &str| {
        let answer = plain.get(format!("http://{orders}{path}")).bearer_auth(&token).send().await;
        match answer {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap()),
            Err(_) => (0, String::new()),
        }
    };
    until(async || call("/readyz").await.0 == 200).await;
    let (status, text) = call("/orders").await;
    assert!(status == 200 && text.contains(&id), "{status} {text}");
    let log_out = http.post(format!("{issuer}/logout")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(log_out.status(), 204);
    until(async || call("/orders").await.0 == 401).await;
}

#[test]
fn the_dependency_names_a_crate_and_a_feature_that_exist() {
    let sample = docs::block("docs/verifying-tokens.md", "[dependencies]");
    let sample: toml::Table = toml::from_str(&sample).unwrap();
    let verifier = &sample["dependencies"]["doorward-verifier"];
    let path = verifier["path"].as_str().unwrap().strip_prefix("../doorward/").unwrap();
    let manifest: toml::Table = toml::from_str(&docs::text(&format!("{path}/Cargo.toml"))).unwrap();
    for feature in verifier["features"].as_array().unwrap() {
        assert!(manifest["features"].get(feature.as_str().unwrap()).is_some(), "{feature}");
    }
    assert_eq!(manifest["package"]["name"].as_str(), Some("doorward-verifier"));
}
